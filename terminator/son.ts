/** A terminator's son: the native data plane with its counters, and its events as log lines. */
import { getSystemErrorName } from 'node:util';
import { fitToFileLimit } from '../native/file-limit.ts';
import type { TerminatorOptions } from '../native/index.ts';
import {
  EVENT_ACCEPT_PAUSED,
  EVENT_ACCEPT_RESUMED,
  EVENT_DRAINED,
  EVENT_EXHAUSTED,
  EVENT_UPSTREAM_FAILED,
  native,
} from '../native/index.ts';
import { LogLimiter } from '../native/log-limiter.ts';
import { nameCounters } from '../native/counters.ts';
import type { RunningSon, SonContext } from '../native/son-contract.ts';

/** What the father sends; the rest of TerminatorOptions is the son's own. */
export type TerminatorPayload = Omit<
  TerminatorOptions,
  'listenFd' | 'sessionTableFd' | 'counters' | 'events'
>;

/** One line per kind of event in this time. */
const LOG_INTERVAL_MS = 5_000;

export function startSon(payload: TerminatorPayload, context: SonContext): RunningSon {
  const { logger, listenFd, sessionTableFd } = context;
  if (sessionTableFd === null) throw new Error('a terminator needs a session table');
  const limits = fitToFileLimit(payload.limits, 0, native.raiseFileLimit(), logger);
  const names = native.terminatorCounterNames;
  const counters = new Float64Array(names.length);
  const limiter = new LogLimiter(LOG_INTERVAL_MS);
  const { promise: drained, resolve: reportDrained } = Promise.withResolvers<void>();

  const log = (kind: number, detail: number): void => {
    const line = LINES[kind];
    if (line === undefined) return;
    const suppressed = limiter.admit(`${kind} ${detail}`, performance.now());
    if (suppressed === null) return;
    const reason = detail > 0 ? getSystemErrorName(-detail) : line.reason;
    logger[line.level]({ reason, suppressed }, line.msg);
  };

  const plane = native.startTerminator({
    ...payload,
    limits,
    listenFd,
    sessionTableFd,
    counters,
    events: (batch, length) => {
      for (let at = 0; at + 2 < length; at += 3) {
        const kind = batch[at] ?? 0;
        if (kind === EVENT_DRAINED) reportDrained();
        else log(kind, batch[at + 2] ?? 0);
      }
    },
  });

  return {
    drain: (final) => plane.drain(final),
    close: () => plane.close(),
    counters: () => nameCounters(names, counters),
    drained,
  };
}

const LINES: Readonly<
  Record<number, { readonly level: 'warn' | 'info'; readonly reason: string; readonly msg: string }>
> = {
  [EVENT_UPSTREAM_FAILED]: { level: 'warn', reason: 'closed or silent', msg: 'upstream failed' },
  [EVENT_EXHAUSTED]: { level: 'warn', reason: 'own shortage', msg: 'resources exhausted' },
  [EVENT_ACCEPT_PAUSED]: { level: 'warn', reason: 'maxConnections', msg: 'accepting paused' },
  [EVENT_ACCEPT_RESUMED]: { level: 'info', reason: 'room again', msg: 'accepting resumed' },
};
