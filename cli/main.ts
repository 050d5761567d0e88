/**
 * The `tlsfarm` command. Wrong flags and wrong worlds both end the same way: one sentence on stderr
 * that contains the fix, exit status 2, nothing started.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { OPERATOR_EXIT_STATUS, OperatorError } from '../config/operator-error.ts';
import { addBalancerCommand } from './balancer.ts';
import { addBenchCommand } from './bench.ts';
import { addCertCommand } from './cert.ts';
import { addSecretCommand } from './secret.ts';
import { addTerminatorCommand } from './terminator.ts';
import { addUpCommand } from './up.ts';

/** The exit status; `argv` without the program's name. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('tlsfarm')
    .description(
      'A scale-out TLS farm: balancers send every client to the terminator that knows its session, ' +
        'terminators finish the handshake and speak plaintext to the upstream.',
    )
    .version(version())
    .exitOverride()
    .configureHelp({ helpWidth: 100 })
    .configureOutput({ outputError: (text, write) => write(oneSentence(text)) });
  program.addHelpText(
    'after',
    `
Begin with a complete farm on this machine:
  $ tlsfarm up

"tlsfarm help <command>" explains a command, with an example.`,
  );
  addUpCommand(program);
  addTerminatorCommand(program);
  addBalancerCommand(program);
  addBenchCommand(program);
  addCertCommand(program);
  addSecretCommand(program);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    return await report(error);
  }
}

async function report(error: unknown): Promise<number> {
  if (error instanceof CommanderError) {
    // commander has printed it; help and version are no errors.
    return error.exitCode === 0 ? 0 : OPERATOR_EXIT_STATUS;
  }
  const known = knownTrouble(error);
  if (known !== null) {
    process.stderr.write(`tlsfarm: ${known.message}\n`);
    // Whoever started us with an IPC channel wants to tell its own operator.
    await tellStarter({ type: 'failed', code: known.code, message: known.message });
    return OPERATOR_EXIT_STATUS;
  }
  throw error;
}

function tellStarter(message: object): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected && process.send !== undefined) process.send(message, () => resolve());
    else resolve();
  });
}

function knownTrouble(error: unknown): OperatorError | null {
  if (error instanceof OperatorError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'MODULE_NOT_FOUND' && message.includes('tlsfarm.node')) {
    return new OperatorError(
      'addon-missing',
      'The native addon is not built: run `npm run build:addon`.',
    );
  }
  return null;
}

/** commander writes "error: …" and its suggestion on a second line. */
function oneSentence(text: string): string {
  const sentence = text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ');
  return `tlsfarm: ${sentence}\n`;
}

function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

// Not exitCode: an IPC channel to whoever started us would keep an idle process alive.
if (import.meta.main) process.exit(await main(process.argv.slice(2)));
