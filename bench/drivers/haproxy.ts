import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BalancedSite, BalancerDriver, Driver, Server, Site } from './server.ts';
import { firstMatch, opensslOf, startPinned, whenListening } from './server.ts';

/** HAProxy in TCP mode with one thread: its session cache, or tickets. */
export const haproxy: Driver = { name: 'haproxy', start: startHaproxy };

/** Affinity by TLS session ID, learnt from ServerHellos into a stick table. */
export const haproxyBalancer: BalancerDriver = {
  name: 'haproxy stick table',
  start: startHaproxyBalancer,
};

function startHaproxy(site: Site, port: number): Promise<Server> {
  const pem = join(site.folder, `haproxy-${port}.pem`);
  writeFileSync(pem, readFileSync(site.cert, 'utf8') + readFileSync(site.key, 'utf8'), {
    mode: 0o600,
  });
  const tickets = site.tickets ? '' : ' no-tls-tickets';
  return run(
    site.core,
    port,
    join(site.folder, `haproxy-${port}.cfg`),
    'haproxy',
    `
global
  nbthread 1
  maxconn 8000
  tune.ssl.cachesize 20000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend tls
  bind 127.0.0.1:${port} backlog 4096 ssl crt ${pem} ssl-min-ver TLSv1.2 curves X25519:P-256${tickets}
  default_backend origin
backend origin
  server origin 127.0.0.1:${site.originPort}
`,
  );
}

function startHaproxyBalancer(site: BalancedSite, port: number): Promise<Server> {
  const servers = site.terminatorPorts.map((each, at) => `  server t${at} 127.0.0.1:${each}`);
  return run(
    site.core,
    port,
    join(site.folder, `haproxy-balancer-${port}.cfg`),
    'haproxy stick table',
    `
global
  nbthread 1
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend tls
  bind 127.0.0.1:${port} backlog 4096
  default_backend terminators
backend terminators
  balance roundrobin
  stick-table type binary len 32 size 30k expire 30m
  acl clienthello req.ssl_hello_type 1
  acl serverhello res.ssl_hello_type 2
  tcp-request inspect-delay 5s
  tcp-request content accept if clienthello
  tcp-response content accept if serverhello
  stick on req.payload_lv(43,1) if clienthello
  stick store-response res.payload_lv(43,1) if serverhello
${servers.join('\n')}
`,
  );
}

function run(
  core: number,
  port: number,
  file: string,
  name: string,
  text: string,
): Promise<Server> {
  writeFileSync(file, text);
  return whenListening(startPinned(core, ['haproxy', '-db', '-f', file]), port, (pid) => ({
    name,
    version: `HAProxy ${firstMatch('haproxy -v', /version (\d+\.\d+\.\d+)/)}, ${opensslOf(pid)}`,
  }));
}
