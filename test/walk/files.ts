/** Certificates and a routing secret for one test process, made once, removed at its end. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCertificates } from '../../cli/cert.ts';
import { makeCertificates } from '../../cli/development-certificates.ts';
import { newSecret } from '../../cli/secret.ts';

export interface TestFiles {
  readonly folder: string;
  /** PEM text, for clients. */
  readonly ca: string;
  readonly routingKey: string;
  /** `--cert … --key …` for both key types. */
  readonly certFlags: readonly string[];
}

let made: Promise<TestFiles> | null = null;

export function testFiles(): Promise<TestFiles> {
  made ??= make();
  return made;
}

async function make(): Promise<TestFiles> {
  const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-test-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  writeCertificates(folder, await makeCertificates([], 2, new Date()), false);
  const routingKey = join(folder, 'routing.key');
  newSecret(routingKey, false);
  const file = (name: string): string => join(folder, name);
  return {
    folder,
    ca: readFileSync(file('ca.crt'), 'utf8'),
    routingKey,
    certFlags: ['rsa', 'ec'].flatMap((type) => [
      '--cert',
      file(`${type}.crt`),
      '--key',
      file(`${type}.key`),
    ]),
  };
}
