import type { Counters } from './messages.ts';

/** The addon's shared array with its names, as a plain object: a copy. */
export function nameCounters(names: readonly string[], values: Float64Array): Counters {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? 0]));
}

/** What is there now, as opposed to what has happened: it dies with its process (see counters.h). */
const GAUGES: ReadonlySet<string> = new Set([
  'connections',
  'undecidedHellos',
  'relaying',
  'pipesInUse',
  'chunksInUse',
  'handshaking',
  'paused',
  'waitingForFiber',
  'zombies',
  'fibersInUse',
  'fibersAllocated',
  'opsInFlight',
  'opsQueued',
]);

/** What remains true of a process that is gone. */
export function withoutGauges(counters: Counters): Counters {
  return Object.fromEntries(Object.entries(counters).filter(([name]) => !GAUGES.has(name)));
}

export function sumCounters(all: readonly Counters[]): Counters {
  const total: Record<string, number> = {};
  for (const counters of all) {
    for (const [name, value] of Object.entries(counters)) total[name] = (total[name] ?? 0) + value;
  }
  return total;
}
