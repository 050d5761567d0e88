/**
 * What the servers of a comparison stand on: certificates, the origin, terminators behind balancers;
 * and the servers themselves, started when a row first needs them, each on a port of its own.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCertificates } from '../cli/cert.ts';
import { makeCertificates } from '../cli/development-certificates.ts';
import { newSecret } from '../cli/secret.ts';
import { startOrigin } from './drivers/nginx.ts';
import type { BalancerDriver, Driver, Server, Site } from './drivers/server.ts';
import { freePort } from './drivers/server.ts';
import { startTlsfarm } from './drivers/tlsfarm.ts';
import type { Ground } from './trials/trial.ts';

export const SERVER_CORE = 0;
export const LOAD_CORE: number = availableParallelism() > 1 ? 1 : 0;

/** Up, or the reason why not: a row says so, it does not vanish. */
export type Started = { readonly server: Server } | { readonly failed: string };

const TERMINATORS = 2;

export class Grounds {
  readonly #folder = mkdtempSync(join(tmpdir(), 'tlsfarm-bench-'));
  readonly #started = new Map<string, Promise<Started>>();
  readonly #behind: Server[] = [];
  #originPort = 0;

  constructor() {
    process.on('exit', () => rmSync(this.#folder, { recursive: true, force: true }));
  }

  async prepare(): Promise<void> {
    writeCertificates(this.#folder, await makeCertificates([], 2, new Date()), false);
    newSecret(this.#file('routing.key'), false);
    const origin = await startOrigin(LOAD_CORE, this.#folder, await freePort());
    this.#behind.push(origin);
    this.#originPort = origin.port;
  }

  get ca(): string {
    return readFileSync(this.#file('ca.crt'), 'utf8');
  }

  /** The server of a row; rows on the same ground share it. */
  terminator(driver: Driver, ground: Ground): Promise<Started> {
    return this.#once(`${driver.name} ${ground}`, async () =>
      driver.start(this.#site(ground, this.#originPort), await freePort()),
    );
  }

  balancer(driver: BalancerDriver): Promise<Started> {
    return this.#once(`${driver.name} balanced`, async () => {
      const terminatorPorts = await this.#terminators();
      const routingKeyFile = this.#file('routing.key');
      const site = { terminatorPorts, routingKeyFile, folder: this.#folder, core: SERVER_CORE };
      return driver.start(site, await freePort());
    });
  }

  /** A fresh one before an origin of the caller's, who also stops it. */
  async fresh(driver: Driver, ground: Ground, originPort: number): Promise<Server> {
    return driver.start(this.#site(ground, originPort), await freePort());
  }

  async stop(): Promise<void> {
    for (const started of this.#started.values()) {
      const outcome = await started;
      if ('server' in outcome) await outcome.server.stop();
    }
    for (const server of this.#behind.toReversed()) await server.stop();
  }

  #once(key: string, start: () => Promise<Server>): Promise<Started> {
    const known = this.#started.get(key);
    if (known !== undefined) return known;
    const started = start().then(
      (server): Started => ({ server }),
      (error: unknown): Started => ({ failed: (error as Error).message }),
    );
    this.#started.set(key, started);
    return started;
  }

  /** The same two for all balancers, on the load's core: they are not what is measured. */
  async #terminators(): Promise<number[]> {
    if (this.#behind.length === 1) {
      for (let n = 0; n < TERMINATORS; n++) {
        const site = { ...this.#site('rsa', this.#originPort), core: LOAD_CORE };
        const flags = ['--routing-key-file', this.#file('routing.key')];
        this.#behind.push(await startTlsfarm(site, await freePort(), flags));
      }
    }
    return this.#behind.slice(1).map((server) => server.port);
  }

  #site(ground: Ground, originPort: number): Site {
    const type = ground === 'ec' ? 'ec' : 'rsa';
    return {
      cert: this.#file(`${type}.crt`),
      key: this.#file(`${type}.key`),
      originPort,
      folder: this.#folder,
      core: SERVER_CORE,
      tickets: ground === 'rsa-tickets',
    };
  }

  #file(name: string): string {
    return join(this.#folder, name);
  }
}
