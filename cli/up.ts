import type { Command } from 'commander';
import type { Address } from '../config/address.ts';
import { formatAddress } from '../config/address.ts';
import { OperatorError } from '../config/operator-error.ts';
import { address } from './values.ts';

/** `tlsfarm up`: a complete farm on this machine, and a tour through it. */
export function addUpCommand(program: Command): void {
  program
    .command('up')
    .summary('bring up a complete farm on this machine and show it')
    .description(
      'Brings up a complete farm on this machine: a balancer, two terminators with two sons each, ' +
        'a demo origin, and the CA, certificates and secrets that they need. A real TLS client then ' +
        'makes a tour, printed as a table: TLS 1.2 and 1.3, first full, then resumed. The farm goes ' +
        'on serving until Ctrl-C, which leaves nothing behind.',
    )
    .option('--listen <address>', 'where the balancer accepts', address, address('127.0.0.1:8443'))
    .option('--dir <folder>', 'keep certificates, secrets and logs here, and use what is there')
    .option('--tour-only', 'end after the tour; exit status 1 if it was not as promised', false)
    .addHelpText(
      'after',
      `
Example:
  $ tlsfarm up --listen 127.0.0.1:8443
  $ tlsfarm up --listen 127.0.0.1:0 --tour-only`,
    )
    .action(async (flags: UpFlags) => {
      if ('path' in flags.listen) {
        throw new OperatorError(
          'listen-unix',
          '--listen has to be host:port here, so that the tour and curl can reach it: use for example 127.0.0.1:8443.',
        );
      }
      const { runUp } = await import('./up-run.ts');
      const status = await runUp({
        listen: flags.listen,
        folder: flags.dir ?? null,
        tourOnly: flags.tourOnly,
      });
      process.exit(status);
    });
  // commander shows a default as JSON unless told.
  const listen = program.commands.at(-1)?.options.find((option) => option.long === '--listen');
  if (listen !== undefined) listen.defaultValueDescription = formatAddress(listen.defaultValue);
}

interface UpFlags {
  readonly listen: Address;
  readonly dir?: string;
  readonly tourOnly: boolean;
}
