import type { Counters } from './messages.ts';

/** The addon's shared array with its names, as a plain object: a copy. */
export function nameCounters(names: readonly string[], values: Float64Array): Counters {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? 0]));
}
