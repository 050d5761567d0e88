/** One visit of one server, as the pinned load process reports it, and what a cell is made of. */
import { median } from './cpu-time.ts';
import type { LoadError, LoadOptions } from './load.ts';
import type { Unit } from './trials/trial.ts';

/** What the load process is asked: CPU is read there, at the moment the counters are. */
export interface SliceRequest {
  readonly options: LoadOptions;
  readonly pids: readonly number[];
  /** Not counted: the clients' first connections, which have no session to offer. */
  readonly warmUpMs: number;
  readonly sliceMs: number;
}

export interface Slice {
  readonly connections: number;
  /** Received, in millions of bytes. */
  readonly megabytes: number;
  readonly seconds: number;
  readonly cpuUs: number;
  /** Of the whole run, so that a window's edges do not blur what the server did. */
  readonly resumed: number;
  readonly offered: number;
  /** All of the run, by kind, none left out. */
  readonly errors: Readonly<Partial<Record<LoadError, number>>>;
  readonly generatorBusy: number;
}

export interface Cell {
  readonly values: readonly number[];
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly ratePerS: number;
  /** Of all connections that offered a session; null: none did. */
  readonly resumedShare: number | null;
  readonly connections: number;
  readonly errors: Readonly<Partial<Record<LoadError, number>>>;
  readonly generatorBusy: number;
}

export function cellOf(slices: readonly Slice[], unit: Unit): Cell {
  const per = (slice: Slice): number =>
    unit === 'µs per MB' ? slice.megabytes : slice.connections;
  // A slice in which nothing got through has no cost per anything; its errors say so.
  const values = slices.filter((slice) => per(slice) > 0).map((slice) => slice.cpuUs / per(slice));
  const offered = sum(slices, (slice) => slice.offered);
  const connections = sum(slices, (slice) => slice.connections);
  return {
    values,
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    ratePerS: median(slices.map((slice) => per(slice) / slice.seconds)),
    resumedShare: offered === 0 ? null : sum(slices, (slice) => slice.resumed) / offered,
    connections,
    errors: addedErrors(slices),
    generatorBusy: median(slices.map((slice) => slice.generatorBusy)),
  };
}

export function errorsOf(errors: Readonly<Partial<Record<string, number>>>): number {
  return Object.values(errors).reduce<number>((total, count) => total + (count ?? 0), 0);
}

function addedErrors(slices: readonly Slice[]): Partial<Record<LoadError, number>> {
  const added: Partial<Record<LoadError, number>> = {};
  for (const { errors } of slices) {
    for (const [kind, count] of Object.entries(errors) as [LoadError, number][]) {
      if (count > 0) added[kind] = (added[kind] ?? 0) + count;
    }
  }
  return added;
}

function sum(slices: readonly Slice[], of: (slice: Slice) => number): number {
  return slices.reduce((total, slice) => total + of(slice), 0);
}
