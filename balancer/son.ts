/** A balancer's son: the native data plane, the router that decides for it, its events as log lines. */
import { getSystemErrorName } from 'node:util';
import { indexNodes } from '../config/node-id.ts';
import { createRoutableIdOpener } from '../config/routable-id.ts';
import type { RoutingKeys } from '../config/routing-key.ts';
import { nameCounters } from '../native/counters.ts';
import { fitPipes, fitToFileLimit } from '../native/file-limit.ts';
import type { ReactorLimits, SocketAddress, Timeouts } from '../native/index.ts';
import {
  EVENT_ACCEPT_PAUSED,
  EVENT_ACCEPT_RESUMED,
  EVENT_DRAINED,
  EVENT_EXHAUSTED,
  EVENT_REFUSED,
  EVENT_SILENT,
  native,
} from '../native/index.ts';
import { LogLimiter } from '../native/log-limiter.ts';
import type { Counters } from '../native/messages.ts';
import type { RunningSon, SonContext } from '../native/son-contract.ts';
import { createHealth } from './health.ts';
import type { Algorithm } from './pick.ts';
import { createPicker } from './pick.ts';
import type { RouterCounters } from './router.ts';
import { createRouter } from './router.ts';

/** What the father sends. Structured clone: no functions, no class instances. */
export interface BalancerPayload {
  /** Canonical names; a terminator is its index in this list and in `terminators`. */
  readonly names: readonly string[];
  readonly terminators: readonly SocketAddress[];
  /** Every accepted epoch; empty without a routing secret. */
  readonly keys: readonly RoutingKeys[];
  readonly balance: Algorithm;
  readonly limits: ReactorLimits;
  readonly timeouts: Timeouts;
  readonly maxPipes: number;
}

/** The longest ClientHello that is gathered, with its record headers. */
const HELLO_SIZE = 65_536;
/** One line per kind of event and terminator in this time. */
const LOG_INTERVAL_MS = 5_000;

export function startSon(payload: BalancerPayload, context: SonContext): RunningSon {
  const { names, terminators, keys, balance, timeouts } = payload;
  const { logger, listenFd } = context;
  const fileLimit = native.raiseFileLimit();
  const maxPipes = fitPipes(payload.maxPipes, fileLimit);
  const limits = fitToFileLimit(payload.limits, maxPipes, fileLimit, logger);
  const counterNames = native.balancerCounterNames;
  const counters = new Float64Array(counterNames.length);
  const hello = new Uint8Array(HELLO_SIZE);
  const candidates = new Uint16Array(names.length);
  const live = new Int32Array(names.length);
  const limiter = new LogLimiter(LOG_INTERVAL_MS);
  const { promise: drained, resolve: reportDrained } = Promise.withResolvers<void>();

  const health = createHealth(names.length);
  const router = createRouter({
    hello,
    routing:
      keys.length === 0
        ? null
        : { opener: createRoutableIdOpener(keys), nodes: indexNodes(names, keys) },
    picker: createPicker({ names, algorithm: balance, health, live, candidates }),
    health,
    nowMs: () => performance.now(),
    unknownNode: (report) =>
      logger.warn(
        { ...report, fix: 'name every terminator by what it advertises' },
        'session ids name a terminator that is not in the list',
      ),
    healthChanged: (terminator, up) => {
      const name = names[terminator];
      if (up) logger.info({ terminator: name }, 'terminator up');
      else logger.warn({ terminator: name }, 'terminator down');
    },
  });

  const log = (kind: number, terminator: number, detail: number): void => {
    const line = LINES[kind];
    if (line === undefined) return;
    const suppressed = limiter.admit(`${kind} ${terminator} ${detail}`, performance.now());
    if (suppressed === null) return;
    const reason = detail > 0 && line.errno ? getSystemErrorName(-detail) : line.reason;
    const about = names[terminator] === undefined ? {} : { terminator: names[terminator] };
    logger[line.level]({ ...about, reason, suppressed }, line.msg);
  };

  const plane = native.startBalancer({
    listenFd,
    terminators,
    limits,
    timeouts,
    maxPipes,
    hello,
    candidates,
    live,
    counters,
    route: router.route,
    events: (batch, length) => {
      router.events(batch, length);
      for (let at = 0; at + 2 < length; at += 3) {
        const kind = batch[at] ?? 0;
        if (kind === EVENT_DRAINED) reportDrained();
        else log(kind, batch[at + 1] ?? -1, batch[at + 2] ?? 0);
      }
    },
  });

  return {
    drain: (final) => plane.drain(final),
    close: () => plane.close(),
    counters: () => ({ ...nameCounters(counterNames, counters), ...flatten(router.counters) }),
    drained,
  };
}

/** The router's counters beside the addon's, in one flat list. */
function flatten(counters: RouterCounters): Counters {
  const flat: Record<string, number> = {
    affinityPsk: counters.affinity.psk,
    affinitySessionId: counters.affinity.sessionId,
    affinityNone: counters.affinity.none,
    affinityOverloaded: counters.affinityOverloaded,
    affinityDown: counters.affinityDown,
    unknownNode: counters.unknownNode,
  };
  for (const [reason, count] of Object.entries(counters.notTls)) flat[`notTls:${reason}`] = count;
  return flat;
}

interface Line {
  readonly level: 'warn' | 'info';
  /** Said when `detail` is no errno. */
  readonly reason: string;
  readonly errno: boolean;
  readonly msg: string;
}

const LINES: Readonly<Record<number, Line>> = {
  [EVENT_REFUSED]: {
    level: 'warn',
    reason: 'closed before its first byte',
    errno: true,
    msg: 'terminator refused',
  },
  [EVENT_SILENT]: {
    level: 'warn',
    reason: 'no byte in time',
    errno: false,
    msg: 'terminator silent',
  },
  [EVENT_EXHAUSTED]: {
    level: 'warn',
    reason: 'own shortage',
    errno: true,
    msg: 'resources exhausted',
  },
  [EVENT_ACCEPT_PAUSED]: {
    level: 'warn',
    reason: 'maxConnections',
    errno: true,
    msg: 'accepting paused',
  },
  [EVENT_ACCEPT_RESUMED]: {
    level: 'info',
    reason: 'room again',
    errno: false,
    msg: 'accepting resumed',
  },
};
