/**
 * Clients that come again and again, in both versions, as often with the session of their last visit
 * as without one, each from an address of its own. What each visit saw is kept.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { terminatorOn } from '../../cli/demo-origin.ts';
import type { Version } from '../../cli/visit.ts';
import { visit } from '../../cli/visit.ts';
import { random } from '../native/random.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';

export interface Visit {
  /** Wall clock, as in log lines. */
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** From connect to the end of the page. */
  readonly ms: number;
  readonly version: Version;
  readonly offered: boolean;
  readonly resumed: boolean;
  /** The name on the page; empty without one. */
  readonly served: string;
  readonly error: string | null;
}

export interface LoadOptions {
  readonly clients: number;
  /** A client rests so long between two visits, on average; 0 = not at all. */
  readonly restMs: number;
}

export interface Load {
  readonly seed: number;
  /** All that have ended, in the order in which they ended. */
  readonly visits: readonly Visit[];
  /** Resolves when so many more have ended. */
  more(count: number): Promise<void>;
  /** Resolves when so many visits *begun* after that moment have ended. */
  moreSince(sinceMs: number, count: number): Promise<void>;
  /** No new visits; resolves when the last one has ended. */
  stop(): Promise<readonly Visit[]>;
}

/** It ends with its test, too. */
export async function startLoad(
  t: Cleanup,
  to: { readonly host: string; readonly port: number },
  options: LoadOptions,
): Promise<Load> {
  const { ca } = await testFiles();
  const { seed, next } = random();
  const { host, port } = to;
  const visits: Visit[] = [];
  const watchers = new Set<() => void>();
  const stopping = new AbortController();

  async function live(client: number): Promise<void> {
    let version: Version = client % 2 === 0 ? 'TLSv1.2' : 'TLSv1.3';
    const kept: Record<Version, Buffer | null> = { 'TLSv1.2': null, 'TLSv1.3': null };
    // 127.0.2.1 …: not among those that tests use by hand.
    const address = `127.0.${2 + Math.floor(client / 250)}.${1 + (client % 250)}`;
    while (!stopping.signal.aborted) {
      const session = next() < 0.5 ? kept[version] : null;
      const startedAtMs = Date.now();
      const startedAt = performance.now();
      const seen = await visit({ host, port, ca, version, client: address, session });
      const ms = performance.now() - startedAt;
      kept[version] = seen.session ?? kept[version];
      visits.push({
        startedAtMs,
        endedAtMs: Date.now(),
        ms,
        version,
        offered: session !== null,
        resumed: seen.resumed,
        served: terminatorOn(seen.body) ?? '',
        error: seen.error ?? (seen.body === '' ? 'no page' : null),
      });
      for (const watcher of watchers) watcher();
      version = version === 'TLSv1.2' ? 'TLSv1.3' : 'TLSv1.2';
      const rest = options.restMs * (0.5 + next());
      // Cut short at the end; the rejection says no more than that.
      if (rest > 0) await delay(rest, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  const lives = Promise.all(Array.from({ length: options.clients }, (_, client) => live(client)));
  t.after(() => stopping.abort());
  const until = (done: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const watcher = (): void => {
        if (!done()) return;
        watchers.delete(watcher);
        resolve();
      };
      watchers.add(watcher);
      watcher();
    });

  return {
    seed,
    visits,
    more(count) {
      const wanted = visits.length + count;
      return until(() => visits.length >= wanted);
    },
    moreSince(sinceMs, count) {
      let looked = 0;
      let found = 0;
      return until(() => {
        for (; looked < visits.length; looked++) {
          if ((visits[looked]?.startedAtMs ?? 0) >= sinceMs) found++;
        }
        return found >= count;
      });
    },
    async stop() {
      stopping.abort();
      await lives;
      return visits;
    },
  };
}

/** Those that went wrong, for a message that can be read. */
export function failed(visits: readonly Visit[]): readonly Visit[] {
  return visits.filter(({ error }) => error !== null);
}

/** The smallest time that so many of a hundred do not exceed. */
export function percentile(visits: readonly Visit[], hundredths: number): number {
  const sorted = visits.map(({ ms }) => ms).sort((a, b) => a - b);
  return (
    sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * hundredths) / 100) - 1)] ?? 0
  );
}

export function worst(visits: readonly Visit[]): number {
  return visits.reduce((most, { ms }) => Math.max(most, ms), 0);
}
