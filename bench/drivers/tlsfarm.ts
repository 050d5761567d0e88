import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Server, Site } from './server.ts';
import { startPinned, stopChild, untilListening } from './server.ts';

const PROGRAM: string = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const PACKAGE: URL = new URL('../../package.json', import.meta.url);

/** A tlsfarm terminator with one son; the father's CPU counts as well. */
export async function startTlsfarm(site: Site, port: number): Promise<Server> {
  const child = startPinned(site.core, [
    process.execPath,
    PROGRAM,
    ...['terminator', '--workers', '1', '--log-level', 'warn', '--groups', 'X25519:P-256'],
    ...['--listen', `127.0.0.1:${port}`, '--upstream', `127.0.0.1:${site.originPort}`],
    ...['--cert', site.cert, '--key', site.key],
  ]);
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
  if (child.stdout === null) throw new Error('no output to read');
  // `listening` is logged at level info: with warn, the port has to be tried.
  createInterface({ input: child.stdout }).on('line', () => {});
  const ended = once(child, 'exit').then(() => {
    throw new Error(`tlsfarm ended at start: ${said}`);
  });
  await Promise.race([untilListening(port, child), ended]);
  ended.catch(() => {});
  const { version } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string };
  return {
    name: 'tlsfarm',
    version: `tlsfarm ${version}, Node ${process.versions.node}, OpenSSL ${process.versions.openssl}`,
    port,
    pid: child.pid ?? 0,
    stop: () => stopChild(child),
  };
}
