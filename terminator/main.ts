/**
 * A terminator from an operator's request to a running father. Everything that can be wrong is found
 * here, before anything listens; the sons (son.ts) get numbers, literal addresses and keys.
 */
import type { Logger } from 'pino';
import type { Address } from '../config/address.ts';
import { formatAddress, isWildcard } from '../config/address.ts';
import { nodeId } from '../config/node-id.ts';
import { OperatorError } from '../config/operator-error.ts';
import { resolveAddress } from '../config/resolve.ts';
import { deriveRoutingKeys } from '../config/routing-key.ts';
import type { RoutingSecret } from '../config/routing-key.ts';
import { readRoutingKeyFile } from '../config/routing-key-file.ts';
import { runFather } from '../native/father-signals.ts';
import { Father } from '../native/father.ts';
import type { MakePayload } from '../native/father.ts';
import type {
  DeviceOptions,
  ReactorLimits,
  RoutableIdKey,
  SocketAddress,
  Timeouts,
} from '../native/index.ts';
import { native } from '../native/index.ts';
import type { TerminatorPayload } from './son.ts';
import { readTlsOptions } from './tls-options.ts';
import type { TlsRequest } from './tls-options.ts';

/** What an operator can say about a terminator; every field is filled in. */
export interface TerminatorRequest {
  readonly listen: Address;
  readonly upstream: Address;
  readonly tls: TlsRequest;
  /** The name balancers know it by; null: where it listens. */
  readonly advertise: Address | null;
  readonly routingKeyFile: string | null;
  readonly workers: number;
  readonly backlog: number;
  readonly sessionSlots: number;
  readonly limits: ReactorLimits;
  readonly timeouts: Timeouts;
  readonly maxFibers: number;
  readonly device: DeviceOptions;
  readonly drainTimeoutMs: number;
}

/** Runs until it is told to stop. Throws an OperatorError, nothing started, when it cannot. */
export async function runTerminator(request: TerminatorRequest, logger: Logger): Promise<void> {
  const listen = await resolveAddress('--listen', request.listen);
  const makePayload = await prepareTerminator(request);
  const father = new Father(native, {
    role: 'terminator',
    module: new URL(import.meta.url.replace(/main\.([tj]s)$/, 'son.$1')).href,
    slots: request.workers,
    listen,
    backlog: request.backlog,
    sessionSlots: request.sessionSlots,
    makePayload,
    reload: () => prepareTerminator(request),
    drainTimeoutMs: request.drainTimeoutMs,
    logger,
    onServing: () => {
      if (request.routingKeyFile !== null) return;
      logger.warn(
        { fix: 'tlsfarm secret routing --out routing.key, then --routing-key-file routing.key' },
        'no routing key: session ids do not name this terminator',
      );
    },
  });
  await runFather(father);
}

/** Reads and checks everything that a request names. Called again at every SIGHUP. */
export async function prepareTerminator(request: TerminatorRequest): Promise<MakePayload> {
  const secret =
    request.routingKeyFile === null ? null : readRoutingKeyFile(request.routingKeyFile);
  if (secret !== null && request.advertise === null && isWildcardHost(request.listen)) {
    throw new OperatorError(
      'advertise-missing',
      `--listen ${formatAddress(request.listen)} is every address of this machine, and with a routing key balancers need one name: add --advertise with what they have in --terminator.`,
    );
  }
  const tls = readTlsOptions(native, request.tls);
  const upstream = await resolveAddress('--upstream', request.upstream);
  const { limits, timeouts, maxFibers, device } = request;
  return (listening: SocketAddress): TerminatorPayload => ({
    upstream,
    limits,
    timeouts,
    tls,
    device,
    maxFibers,
    routableId: secret === null ? null : routableIdKey(secret, nameOf(request, listening)),
  });
}

/** `--advertise` as written, else `--listen` as written with the port that the kernel chose. */
function nameOf(request: TerminatorRequest, listening: SocketAddress): string {
  if (request.advertise !== null) return formatAddress(request.advertise);
  const { listen } = request;
  if ('path' in listen || 'path' in listening) return formatAddress(listen);
  return formatAddress({ host: listen.host, port: listening.port });
}

/** New IDs are sealed with the first epoch only; balancers open all of them. */
function routableIdKey(secret: RoutingSecret, name: string): RoutableIdKey | null {
  const current = secret.epochs[0];
  if (current === undefined) return null;
  const { epoch, k1, k2, nodeIdKey } = deriveRoutingKeys(current);
  return { epoch, nodeId: nodeId(nodeIdKey, name), k1, k2 };
}

/** A port of 0 is no obstacle: the name gets the real one. */
function isWildcardHost(address: Address): boolean {
  return !('path' in address) && isWildcard({ host: address.host, port: 1 });
}
