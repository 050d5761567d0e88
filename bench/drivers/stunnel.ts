import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Driver, Server, Site } from './server.ts';
import { firstMatch, opensslOf, startPinned, whenListening } from './server.ts';

/** A thread for each connection, all on the one core: there is no such thing as its one worker. */
export const stunnel: Driver = { name: 'stunnel', start: startStunnel };

function startStunnel(site: Site, port: number): Promise<Server> {
  const file = join(site.folder, `stunnel-${port}.conf`);
  writeFileSync(
    file,
    `foreground = yes
syslog = no
debug = err
pid =
[tls]
accept = 127.0.0.1:${port}
connect = 127.0.0.1:${site.originPort}
cert = ${site.cert}
key = ${site.key}
sslVersionMin = TLSv1.2
curves = X25519:P-256
sessionCacheSize = 20000
sessionCacheTimeout = 300
${site.tickets ? 'options = -NO_TICKET' : 'options = NO_TICKET'}
`,
  );
  return whenListening(startPinned(site.core, ['stunnel', file]), port, (pid) => ({
    name: 'stunnel',
    version: `stunnel ${firstMatch('stunnel -version', /stunnel (\d\S*)/)}, ${opensslOf(pid)}`,
  }));
}
