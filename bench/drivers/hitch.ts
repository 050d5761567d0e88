import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Driver, Server, Site } from './server.ts';
import { firstMatch, opensslOf, startPinned, whenListening } from './server.ts';

/** It refuses to run its workers as root; the Debian package makes this user. */
const USER = 'user = "_hitch"\ngroup = "_hitch"\n';

/**
 * Debian builds it without its shared session cache: one worker resumes by ID from OpenSSL's own
 * cache. Tickets cannot be switched off in it, so clients choose.
 */
export const hitch: Driver = { name: 'hitch', start: startHitch };

function startHitch(site: Site, port: number): Promise<Server> {
  const pem = join(site.folder, `hitch-${port}.pem`);
  writeFileSync(pem, readFileSync(site.key, 'utf8') + readFileSync(site.cert, 'utf8'), {
    mode: 0o600,
  });
  const file = join(site.folder, `hitch-${port}.conf`);
  writeFileSync(
    file,
    `${process.getuid?.() === 0 ? USER : ''}frontend = { host = "127.0.0.1" port = "${port}" }
backend = "[127.0.0.1]:${site.originPort}"
pem-file = "${pem}"
workers = 1
backlog = 4096
tls-protos = TLSv1.2 TLSv1.3
ecdh-curve = "X25519:P-256"
daemon = off
quiet = on
`,
  );
  return whenListening(startPinned(site.core, ['hitch', `--config=${file}`]), port, (pid) => ({
    name: 'hitch',
    version: `hitch ${firstMatch('hitch --version', /hitch (\d\S*)/)}, ${opensslOf(pid)}`,
  }));
}
