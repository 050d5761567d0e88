import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { OperatorError } from '../config/operator-error.ts';
import { replaceOperatorFile, writeOperatorFile } from '../config/operator-file.ts';
import {
  addRoutingEpoch,
  formatRoutingSecret,
  newRoutingSecret,
  SECRET_LENGTH,
} from '../config/routing-key.ts';
import { readRoutingKeyFile } from '../config/routing-key-file.ts';
import { needed } from './values.ts';

/** `tlsfarm secret routing`: the secret itself is written to a file and never printed. */
export function addSecretCommand(program: Command): void {
  const secret = program
    .command('secret')
    .summary('make or rotate the secrets that the farm shares')
    .description('Makes or rotates the secrets that the nodes of a farm share.');
  secret
    .command('routing')
    .summary('the secret that seals node ids into session IDs')
    .description(
      'Makes the secret with which terminators seal their node id into session IDs, and balancers ' +
        'read it. With --add the file gets a new epoch in front; the one before stays accepted. ' +
        'Rotate in this order: --add on one machine, copy the file to all, SIGHUP to the ' +
        'balancers, then SIGHUP to the terminators.',
    )
    .option('--out <file>', 'where to; mode 0600')
    .option('--add', 'add an epoch to the file that is there', false)
    .option('--force', 'replace a file that exists', false)
    .addHelpText(
      'after',
      `
Example:
  $ tlsfarm secret routing --out routing.key
  $ tlsfarm secret routing --out routing.key --add`,
    )
    .action((flags: SecretFlags) => {
      if (flags.add && flags.force) {
        throw new OperatorError(
          'add-or-force',
          '--add keeps the file and --force replaces it: say one of them.',
        );
      }
      const out = needed(flags.out, '--out', 'routing.key');
      process.stdout.write(flags.add ? addEpoch(out) : newSecret(out, flags.force));
    });
}

interface SecretFlags {
  readonly out?: string;
  readonly add: boolean;
  readonly force: boolean;
}

export function newSecret(path: string, force: boolean): string {
  const text = formatRoutingSecret(newRoutingSecret(randomBytes(SECRET_LENGTH)));
  writeOperatorFile(`--out ${path}`, path, text, { force });
  return `Wrote a routing secret to ${path}: give it to all balancers and terminators.\n`;
}

export function addEpoch(path: string): string {
  const secret = addRoutingEpoch(readRoutingKeyFile(path, '--out'), randomBytes(SECRET_LENGTH));
  replaceOperatorFile(`--out ${path}`, path, formatRoutingSecret(secret));
  return `Epoch ${secret.epochs[0]?.epoch} is now first in ${path}: balancers have to read it before terminators.\n`;
}
