import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BalancedSite, BalancerDriver, Driver, Server, Site } from './server.ts';
import { firstMatch, opensslOf, startPinned, whenListening } from './server.ts';

/** nginx's stream module in front of the origin: sessions in shared memory, or tickets. */
export const nginx: Driver = { name: 'nginx', start: startNginx };

/** By client address, as nginx can without a module: it does not look into the TLS. */
export const nginxBalancer: BalancerDriver = { name: 'nginx stream', start: startNginxBalancer };

export function startNginx(site: Site, port: number): Promise<Server> {
  return run(site.core, port, join(site.folder, `nginx-${port}`), 'nginx', terminating(site, port));
}

function startNginxBalancer(site: BalancedSite, port: number): Promise<Server> {
  const folder = join(site.folder, `nginx-balancer-${port}`);
  return run(site.core, port, folder, 'nginx stream', balancing(site, port));
}

/** A page of 3 bytes at /, and of a million at /million. */
export function startOrigin(core: number, folder: string, port: number): Promise<Server> {
  const own = join(folder, 'origin');
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'million'), Buffer.alloc(1_000_000, 'x'));
  return run(core, port, own, 'origin', serving(own, port));
}

function run(
  core: number,
  port: number,
  folder: string,
  name: string,
  body: string,
): Promise<Server> {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
${process.getuid?.() === 0 ? 'user root;' : ''}
pid ${folder}/nginx.pid;
error_log stderr error;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections 9000; }
${body}`,
  );
  const pinned = startPinned(core, ['nginx', '-c', file, '-p', folder, '-e', 'stderr']);
  return whenListening(pinned, port, (pid) => ({
    name,
    version: `nginx ${firstMatch('nginx -v', /nginx\/(\S+)/)}, ${opensslOf(pid)}`,
  }));
}

function terminating(site: Site, port: number): string {
  return `
stream {
  ssl_certificate ${site.cert};
  ssl_certificate_key ${site.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ecdh_curve X25519:prime256v1;
  ssl_session_cache ${site.tickets ? 'none' : 'shared:one:20m'};
  ssl_session_tickets ${site.tickets ? 'on' : 'off'};
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    tcp_nodelay on;
    proxy_pass 127.0.0.1:${site.originPort};
  }
}
`;
}

function balancing(site: BalancedSite, port: number): string {
  const servers = site.terminatorPorts.map((each) => `    server 127.0.0.1:${each};`);
  return `
stream {
  upstream terminators {
    hash $remote_addr consistent;
${servers.join('\n')}
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    tcp_nodelay on;
    proxy_pass terminators;
  }
}
`;
}

function serving(folder: string, port: number): string {
  return `
http {
  access_log off;
  keepalive_requests 1000000;
  sendfile on;
  tcp_nodelay on;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = / { return 200 "hi\\n"; }
    location / { root ${folder}; }
  }
}
`;
}
