/** What the sons count and what they cost: until nothing is left, and how much it was. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { FarmMember, Stats } from './farm.ts';

/** VmRSS in KiB. */
export function residentKiB(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (found === null) throw new Error(`process ${pid} has no memory any more`);
  return Number(found[1]);
}

/** Descriptors that are open. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Time on a CPU so far, all threads, in milliseconds: the scheduler's nanoseconds, not ticks. */
export function cpuMs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    } catch {
      // A thread that has just ended.
    }
  }
  return ns / 1e6;
}

/** What is zero when nobody is there; each role has some of them. */
export const GAUGES_AT_REST: readonly string[] = [
  ...['connections', 'undecidedHellos', 'relaying', 'handshaking', 'paused', 'waitingForFiber'],
  ...['zombies', 'opsInFlight', 'chunksInUse'],
];

const PATIENCE_MS = 15_000;
const LOOK_AGAIN_MS = 20;

/** There is no event for "nothing is left": look until every gauge is zero; the numbers then. */
export function atRest(member: FarmMember): Promise<Stats> {
  return statsUntil(member, 'everything gone', ({ counters }) =>
    GAUGES_AT_REST.every((name) => (counters[name] ?? 0) === 0),
  );
}

/** Counters are not events either: look until they say what is wanted. */
export async function statsUntil(
  member: FarmMember,
  what: string,
  wanted: (stats: Stats) => boolean,
): Promise<Stats> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const stats = await member.stats();
    if (wanted(stats)) return stats;
    if (performance.now() > deadline) {
      const left = Object.entries(stats.counters).filter(([, value]) => value !== 0);
      throw new Error(`waited in vain for ${what}: ${JSON.stringify(Object.fromEntries(left))}`);
    }
    await delay(LOOK_AGAIN_MS);
  }
}

/** How much a counter has risen between two looks. */
export function rise(before: Stats, after: Stats, name: string): number {
  return count(after, name) - count(before, name);
}

/** A misspelt name must not read as zero. */
export function count(stats: Stats, name: string): number {
  const value = stats.counters[name];
  if (value === undefined) throw new Error(`there is no counter ${name}`);
  return value;
}

/** All counters whose name begins so. */
export function sumOf(stats: Stats, prefix: string): number {
  return Object.entries(stats.counters)
    .filter(([name]) => name.startsWith(prefix))
    .reduce((sum, [, value]) => sum + value, 0);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
