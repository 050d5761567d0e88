import { fileURLToPath } from 'node:url';
import { versions } from '../report-json.ts';
import type { BalancedSite, BalancerDriver, Driver, Server, Site } from './server.ts';
import { startPinned, whenListening } from './server.ts';

const PROGRAM: string = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

/** A tlsfarm terminator with one son; the father's CPU counts as well. */
export const tlsfarm: Driver = { name: 'tlsfarm', start: startTlsfarm };

export const tlsfarmBalancer: BalancerDriver = {
  name: 'tlsfarm balancer',
  start: startTlsfarmBalancer,
};

export function startTlsfarm(
  site: Site,
  port: number,
  flags: readonly string[] = [],
): Promise<Server> {
  return run(site.core, port, 'tlsfarm', [
    ...['terminator', '--groups', 'X25519:P-256', '--upstream', `127.0.0.1:${site.originPort}`],
    ...['--cert', site.cert, '--key', site.key, ...flags],
  ]);
}

function startTlsfarmBalancer(site: BalancedSite, port: number): Promise<Server> {
  return run(site.core, port, 'tlsfarm balancer', [
    // All clients of a comparison have one address: by address they would crowd on one terminator, and
    // the balancer would rather move them than overload it.
    ...['balancer', '--balance', 'roundrobin', '--routing-key-file', site.routingKeyFile],
    ...site.terminatorPorts.flatMap((each) => ['--terminator', `127.0.0.1:${each}`]),
  ]);
}

function run(
  core: number,
  port: number,
  name: string,
  [command = '', ...flags]: readonly string[],
): Promise<Server> {
  const pinned = startPinned(core, [
    ...[process.execPath, PROGRAM, command, '--listen', `127.0.0.1:${port}`],
    ...['--workers', '1', '--log-level', 'warn', '--drain-timeout', '2s', ...flags],
  ]);
  const { tlsfarm: own, node, openssl } = versions();
  const version = `tlsfarm ${own}, Node ${node}, OpenSSL ${openssl}`;
  return whenListening(pinned, port, () => ({ name, version }));
}
