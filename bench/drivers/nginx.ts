import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Server, Site } from './server.ts';
import { startPinned, stopChild, untilListening } from './server.ts';

/** nginx's stream module in front of the origin: sessions by ID in shared memory, no tickets. */
export async function startNginx(site: Site, port: number): Promise<Server> {
  const folder = join(site.folder, 'nginx');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, configuration(site, port, folder));
  const child = startPinned(site.core, ['nginx', '-c', file, '-p', folder, '-e', 'stderr']);
  await untilListening(port, child);
  return {
    name: 'nginx stream',
    version: nginxVersion(),
    port,
    pid: child.pid ?? 0,
    stop: () => stopChild(child),
  };
}

function nginxVersion(): string {
  const said = execFileSync('sh', ['-c', 'nginx -V 2>&1'], { encoding: 'utf8' });
  const version = /nginx version: (\S+)/.exec(said)?.[1] ?? 'nginx';
  const openssl = /(?:running|built) with (OpenSSL \S+)/.exec(said)?.[1] ?? 'OpenSSL ?';
  return `${version}, ${openssl}`;
}

function configuration(site: Site, port: number, folder: string): string {
  return `
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr warn;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections 4096; }
stream {
  ssl_certificate ${site.cert};
  ssl_certificate_key ${site.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ecdh_curve X25519:prime256v1;
  ssl_session_cache shared:one:20m;
  ssl_session_tickets off;
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    tcp_nodelay on;
    proxy_pass 127.0.0.1:${site.originPort};
  }
}
`;
}
