/** What a load run has to reach: each promise that it broke is one sentence, with the figure in it. */
import type { LoadResult } from './load.ts';

export interface Thresholds {
  /** Of the connections that offered a session, 0..1; null: anything will do. */
  readonly minResumed: number | null;
  readonly maxErrors: number | null;
  /** Of the whole connection; in the open loop from its intended start. */
  readonly p99Us: number | null;
}

/** Empty when all hold. A run without one whole connection breaks every promise, asked for or not. */
export function brokenThresholds(result: LoadResult, wanted: Thresholds): string[] {
  const broken: string[] = [];
  if (result.completed === 0)
    broken.push('No connection was completed: there is nothing to judge.');
  const share = resumedShare(result);
  if (wanted.minResumed !== null && share === null) {
    broken.push(
      `--min-resumed ${wanted.minResumed}: no connection offered a session (--resume always makes them).`,
    );
  } else if (wanted.minResumed !== null && share !== null && share < wanted.minResumed) {
    broken.push(
      `--min-resumed ${wanted.minResumed}: ${floor4(share)} of the connections that offered a session ` +
        `resumed it; ${result.offeredButFull} did not.`,
    );
  }
  const errors = errorCount(result);
  if (wanted.maxErrors !== null && errors > wanted.maxErrors) {
    broken.push(`--max-errors ${wanted.maxErrors}: there were ${errors}.`);
  }
  if (wanted.p99Us !== null && result.completed > 0 && result.total.p99Us > wanted.p99Us) {
    broken.push(
      `--p99 ${milliseconds(wanted.p99Us)} ms: it was ${milliseconds(result.total.p99Us)} ms.`,
    );
  }
  return broken;
}

/**
 * Of the connections that offered a session, how many resumed it; null when none did. A client's
 * first connection has nothing to offer and does not count against the server.
 */
export function resumedShare(result: LoadResult): number | null {
  const offered = result.handshakesResumed + result.offeredButFull;
  return offered === 0 ? null : result.handshakesResumed / offered;
}

export function errorCount(result: Pick<LoadResult, 'errors'>): number {
  return Object.values(result.errors).reduce((sum, count) => sum + count, 0);
}

/** Above this the generator is what is measured: rates and latencies are its own. */
export const GENERATOR_BOUND = 0.8;

/** 0.98999 must not read as the 0.99 that it missed. */
function floor4(share: number): string {
  return (Math.floor(share * 10_000) / 10_000).toFixed(4);
}

function milliseconds(us: number): string {
  return String(Number((us / 1_000).toPrecision(4)));
}
