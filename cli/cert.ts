import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { OperatorError } from '../config/operator-error.ts';
import { makeOperatorFolder, writeOperatorFile } from '../config/operator-file.ts';
import { texts, whole } from './values.ts';

/** `tlsfarm cert`: what a development farm needs to show its clients. */
export function addCertCommand(program: Command): void {
  program
    .command('cert')
    .summary('make a development CA with RSA and ECDSA server certificates')
    .description(
      'Makes a CA of its own and, signed by it, an RSA-2048 and an ECDSA P-256 server certificate ' +
        'for localhost, 127.0.0.1, ::1 and every --name. For development and tests: whoever has ' +
        'ca.key can be anybody to the clients that trust ca.crt. Files: ca.crt, ca.key, rsa.crt, ' +
        'rsa.key, ec.crt, ec.key; keys have mode 0600.',
    )
    .option('--out <folder>', 'where to; made if missing', 'certs')
    .option('--name <name>', 'another DNS name or IP address; repeat', names)
    .option('--days <n>', 'how long they are valid', whole(1, 3_650), 90)
    .option('--force', 'replace files that exist', false)
    .addHelpText(
      'after',
      `
Example:
  $ tlsfarm cert --out certs --name farm.test --name 192.0.2.7
  $ curl --cacert certs/ca.crt https://farm.test:8443/`,
    )
    .action(async (flags: CertFlags) => {
      const { makeCertificates } = await import('./development-certificates.ts');
      const files = await makeCertificates(flags.name ?? [], flags.days, new Date());
      writeCertificates(flags.out, files, flags.force);
      process.stdout.write(`Wrote ${Object.keys(files).join(', ')} to ${flags.out}.\n`);
    });
}

interface CertFlags {
  readonly out: string;
  readonly name?: readonly string[];
  readonly days: number;
  readonly force: boolean;
}

/** All or nothing: an old key beside a new certificate is worse than either. */
export function writeCertificates(
  folder: string,
  files: Readonly<Record<string, string>>,
  force: boolean,
): void {
  makeOperatorFolder('--out', folder);
  if (!force) refuseExisting(folder, Object.keys(files));
  for (const [name, pem] of Object.entries(files)) {
    const path = join(folder, name);
    writeOperatorFile(path, path, pem, { mode: name.endsWith('.key') ? 0o600 : 0o644, force });
  }
}

function names(text: string, previous: readonly string[] | undefined): string[] {
  const isName =
    /^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i;
  if (isIP(text) === 0 && (!isName.test(text) || /^[0-9.]+$/.test(text))) {
    throw new InvalidArgumentError('Write a DNS name or an IP address, without a port.');
  }
  return texts(text.toLowerCase(), previous);
}

function refuseExisting(folder: string, fileNames: readonly string[]): void {
  const existing = fileNames.filter((name) => existsSync(join(folder, name)));
  if (existing.length === 0) return;
  throw new OperatorError(
    'file-exists',
    `${existing.join(', ')} in ${folder} would be replaced: choose another --out, or say --force.`,
  );
}
