/**
 * A balancer from an operator's request to a running father. Everything that can be wrong is found
 * here, before anything listens; the sons (son.ts) get literal addresses, names and routing keys.
 */
import type { Logger } from 'pino';
import type { Address } from '../config/address.ts';
import { formatAddress } from '../config/address.ts';
import { indexNodes } from '../config/node-id.ts';
import { OperatorError } from '../config/operator-error.ts';
import { resolveAddress } from '../config/resolve.ts';
import { deriveRoutingKeys } from '../config/routing-key.ts';
import { readRoutingKeyFile } from '../config/routing-key-file.ts';
import { runFather } from '../native/father-signals.ts';
import { Father } from '../native/father.ts';
import type { MakePayload } from '../native/father.ts';
import type { ReactorLimits, SocketAddress, Timeouts } from '../native/index.ts';
import { native } from '../native/index.ts';
import type { Algorithm } from './pick.ts';
import type { BalancerPayload } from './son.ts';

/** What an operator can say about a balancer; every field is filled in. */
export interface BalancerRequest {
  readonly listen: Address;
  readonly terminators: readonly Address[];
  readonly routingKeyFile: string | null;
  readonly balance: Algorithm;
  readonly workers: number;
  readonly backlog: number;
  readonly limits: ReactorLimits;
  readonly timeouts: Timeouts;
  readonly maxPipes: number;
  readonly drainTimeoutMs: number;
}

/** Runs until it is told to stop. Throws an OperatorError, nothing started, when it cannot. */
export async function runBalancer(request: BalancerRequest, logger: Logger): Promise<void> {
  const listen = await resolveAddress('--listen', request.listen);
  const makePayload = await prepareBalancer(request);
  const father = new Father(native, {
    role: 'balancer',
    module: new URL(import.meta.url.replace(/main\.([tj]s)$/, 'son.$1')).href,
    slots: request.workers,
    listen,
    backlog: request.backlog,
    sessionSlots: null,
    makePayload,
    reload: () => prepareBalancer(request),
    drainTimeoutMs: request.drainTimeoutMs,
    logger,
    onServing: () => {
      if (request.routingKeyFile !== null) return;
      logger.warn(
        { fix: 'give --routing-key-file the file that the terminators have' },
        'no routing key: clients are not sent back to the terminator that knows them',
      );
    },
  });
  await runFather(father);
}

/** Reads and checks everything that a request names. Called again at every SIGHUP. */
export async function prepareBalancer(request: BalancerRequest): Promise<MakePayload> {
  const keys =
    request.routingKeyFile === null
      ? []
      : readRoutingKeyFile(request.routingKeyFile).epochs.map(deriveRoutingKeys);
  const names = request.terminators.map(formatAddress);
  // Refuses names that come twice and ids that collide; the sons build their own.
  indexNodes(names, keys);
  const terminators = await Promise.all(
    request.terminators.map((address) => resolveAddress('--terminator', address)),
  );
  refuseSameAddress(names, terminators);
  const { balance, limits, timeouts, maxPipes } = request;
  return (): BalancerPayload => ({ names, terminators, keys, balance, limits, timeouts, maxPipes });
}

/** Two names for one process would give it two shares, and its sessions two owners. */
function refuseSameAddress(names: readonly string[], addresses: readonly SocketAddress[]): void {
  const first = new Map<string, string>();
  for (const [index, address] of addresses.entries()) {
    const where = formatAddress(address);
    const name = names[index] ?? where;
    const other = first.get(where);
    if (other !== undefined) {
      throw new OperatorError(
        'terminator-same-address',
        `--terminator ${other} and --terminator ${name} are both ${where}: remove one of them.`,
      );
    }
    first.set(where, name);
  }
}
