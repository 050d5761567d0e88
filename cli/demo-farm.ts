/**
 * A complete farm on this machine, in steps: keys, origins, terminators, balancer. Whatever has been
 * started is stopped by `stop`, however far it got.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Address } from '../config/address.ts';
import { formatAddress, parseAddress } from '../config/address.ts';
import { makeOperatorFolder } from '../config/operator-file.ts';
import { writeCertificates } from './cert.ts';
import type { DemoOrigin } from './demo-origin.ts';
import { startDemoOrigin } from './demo-origin.ts';
import type { FarmProcess } from './farm-process.ts';
import { startFarmProcess } from './farm-process.ts';
import { newSecret } from './secret.ts';

export interface DemoFarmOptions {
  readonly listen: Address;
  /** Keep everything here; null: a fresh private folder, removed at the end. */
  readonly folder: string | null;
}

export interface Step {
  readonly title: string;
  run(): Promise<void>;
}

export const TERMINATOR_NAMES = ['one', 'two'] as const;

const CERTIFICATE_DAYS = 30;
const CERTIFICATE_FILES: readonly string[] = [
  'ca.crt',
  'ca.key',
  'rsa.crt',
  'rsa.key',
  'ec.crt',
  'ec.key',
];
/** Nobody who tries a demo wants to wait for a forgotten connection. */
const DRAIN_TIMEOUT = '2s';

export class DemoFarm {
  readonly #options: DemoFarmOptions;
  readonly #origins: DemoOrigin[] = [];
  readonly #terminators: FarmProcess[] = [];
  readonly #died = Promise.withResolvers<string>();
  #balancer: FarmProcess | null = null;
  #folder: string | null = null;
  #stopping: Promise<void> | null = null;

  constructor(options: DemoFarmOptions) {
    this.#options = options;
  }

  get steps(): readonly Step[] {
    return [
      { title: 'CA, certificates and secrets', run: () => this.#makeKeys() },
      { title: 'Demo origin', run: () => this.#startOrigins() },
      { title: 'Two terminators, two sons each', run: () => this.#startTerminators() },
      { title: 'Balancer', run: () => this.#startBalancer() },
    ];
  }

  /** Where the balancer listens. */
  get address(): Address {
    return parseAddress(this.#balancer?.address ?? '');
  }

  get terminators(): readonly FarmProcess[] {
    return this.#terminators;
  }

  file(name: string): string {
    if (this.#folder === null) throw new Error('no folder yet');
    return join(this.#folder, name);
  }

  get ca(): string {
    return readFileSync(this.file('ca.crt'), 'utf8');
  }

  /** Resolves with a sentence when a part of the running farm ends that should not. */
  get died(): Promise<string> {
    return this.#died.promise;
  }

  /** Everything, whatever has been started; a second call while it goes on makes it quick. */
  stop(): Promise<void> {
    if (this.#stopping === null) this.#stopping = this.#stop();
    else for (const part of this.#parts()) part.hurry();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    // The balancer first: nobody is sent to terminators that are going.
    await this.#balancer?.stop();
    await Promise.all(this.#terminators.map((terminator) => terminator.stop()));
    for (const origin of this.#origins) origin.close();
    this.removeFolder();
  }

  /** Also for the moment when the process ends in another way than by `stop`. */
  removeFolder(): void {
    if (this.#folder === null || this.#options.folder !== null) return;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #makeKeys(): Promise<void> {
    this.#folder = makeFolder(this.#options.folder);
    if (!CERTIFICATE_FILES.every((name) => existsSync(this.file(name)))) {
      const { makeCertificates } = await import('./development-certificates.ts');
      const { listen } = this.#options;
      const wildcard = 'host' in listen && ['0.0.0.0', '::'].includes(listen.host);
      const names = 'host' in listen && !wildcard ? [listen.host] : [];
      const files = await makeCertificates(names, CERTIFICATE_DAYS, new Date());
      writeCertificates(this.#folder, files, false);
    }
    if (!existsSync(this.file('routing.key'))) newSecret(this.file('routing.key'), false);
  }

  async #startOrigins(): Promise<void> {
    for (const name of TERMINATOR_NAMES) this.#origins.push(await startDemoOrigin(name));
  }

  async #startTerminators(): Promise<void> {
    const starting = TERMINATOR_NAMES.map((name, index) => {
      const origin = this.#origins[index];
      const args = ['terminator', '--listen', '127.0.0.1:0', '--workers', '2'];
      args.push('--upstream', `${origin?.host}:${origin?.port}`);
      for (const type of ['rsa', 'ec']) {
        args.push('--cert', this.file(`${type}.crt`), '--key', this.file(`${type}.key`));
      }
      args.push('--routing-key-file', this.file('routing.key'), '--drain-timeout', DRAIN_TIMEOUT);
      return startFarmProcess(`terminator ${name}`, args, this.file(`terminator-${name}.log`));
    });
    // All of them, even if one fails: those that run have to be known to be stopped.
    for (const outcome of await Promise.allSettled(starting)) {
      if (outcome.status === 'fulfilled') this.#watch(outcome.value, this.#terminators);
    }
    await Promise.all(starting);
  }

  async #startBalancer(): Promise<void> {
    const args = ['balancer', '--listen', formatAddress(this.#options.listen)];
    for (const { address } of this.#terminators) args.push('--terminator', address);
    args.push('--routing-key-file', this.file('routing.key'), '--drain-timeout', DRAIN_TIMEOUT);
    const started: FarmProcess[] = [];
    this.#watch(await startFarmProcess('balancer', args, this.file('balancer.log')), started);
    this.#balancer = started[0] ?? null;
  }

  #watch(part: FarmProcess, into: FarmProcess[]): void {
    into.push(part);
    void part.exited.then((how) => this.#died.resolve(`The ${part.name} ended (${how}).`));
  }

  #parts(): FarmProcess[] {
    return this.#balancer === null ? this.#terminators : [this.#balancer, ...this.#terminators];
  }
}

function makeFolder(wanted: string | null): string {
  if (wanted === null) return mkdtempSync(join(tmpdir(), 'tlsfarm-'));
  makeOperatorFolder('--dir', wanted, 0o700);
  return resolve(wanted);
}
