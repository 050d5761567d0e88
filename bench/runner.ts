/**
 * How it is measured: all servers of all rows in one run, visited in random order, round after round,
 * in short slices; the scheduler's CPU time of all the server's processes; medians. Machines drift by
 * a third within minutes, so that only what was interleaved may be compared.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { processTree } from './cpu-time.ts';
import type { BalancerDriver, Driver, Server } from './drivers/server.ts';
import type { Grounds, Started } from './grounds.ts';
import { LOAD_CORE } from './grounds.ts';
import type { LoadError, LoadOptions } from './load.ts';
import { LoadProcess } from './load-process.ts';
import { IdleOrigin, proportionalKib } from './memory.ts';
import { seededRandom, shuffled } from './random.ts';
import type { Cell, Slice } from './slice.ts';
import { cellOf, errorsOf } from './slice.ts';
import type { Trial } from './trials/trial.ts';
import { BASE, MILLION, PAGE } from './trials/trial.ts';

export interface RunOptions {
  readonly rounds: number;
  readonly sliceMs: number;
  readonly seed: number;
  /** What goes on, for people. */
  say(text: string): void;
}

/** One server in one row. */
export type Outcome =
  | { readonly kind: 'measured'; readonly cell: Cell }
  /** It did something else than the row says: not compared. */
  | { readonly kind: 'other'; readonly cell: Cell; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'untried'; readonly why: string };

export interface Row {
  readonly trial: Trial;
  /** By driver, in the order of the drivers. */
  readonly outcomes: Readonly<Record<string, Outcome>>;
}

export interface Measured {
  readonly rows: readonly Row[];
  /** By driver. */
  readonly versions: Readonly<Record<string, string>>;
}

const WARM_UP_MS = 500;
const MIN_RESUMED = 0.95;
/** Of the connections; below it they stand in their column and the figure holds. */
const MAX_ERRORS = 0.01;
const MEMORY_ROUNDS = 2;
/** Held before it is measured at all: what a server allocates once is not a connection's. */
const HELD_FIRST = 100;
const HELD = 2_000;
const RAMP_MS = 3_000;
const HOLD_PATIENCE_MS = 60_000;
const SETTLE_MS = 3_000;

interface Visit {
  readonly trial: Trial;
  readonly driver: string;
  readonly server: Server;
  readonly slices: Slice[];
  readonly trouble: string[];
}

export async function measure(
  grounds: Grounds,
  trials: readonly Trial[],
  terminators: readonly Driver[],
  balancers: readonly BalancerDriver[],
  options: RunOptions,
): Promise<Measured> {
  const random = seededRandom(options.seed);
  const versions: Record<string, string> = {};
  const outcomes = new Map<string, Outcome>();
  const visits: Visit[] = [];
  const idle: (readonly [Trial, Driver])[] = [];
  const key = (trial: Trial, driver: string): string => `${trial.key} ${driver}`;

  for (const trial of trials) {
    for (const driver of trial.ground === 'balanced' ? balancers : terminators) {
      const why = trial.untried[driver.name];
      if (why !== undefined) {
        outcomes.set(key(trial, driver.name), { kind: 'untried', why });
        continue;
      }
      if (trial.unit === 'KiB per connection') {
        idle.push([trial, driver as Driver]);
        continue;
      }
      const started = await startFor(grounds, trial, driver);
      if ('failed' in started) {
        options.say(`${driver.name} does not start: ${started.failed}`);
        outcomes.set(key(trial, driver.name), { kind: 'failed', why: started.failed });
        continue;
      }
      versions[driver.name] = started.server.version;
      const { server } = started;
      visits.push({ trial, driver: driver.name, server, slices: [], trouble: [] });
    }
  }

  const load = new LoadProcess(LOAD_CORE);
  try {
    for (let round = 1; round <= options.rounds; round++) {
      options.say(`round ${round} of ${options.rounds}, ${visits.length} visits`);
      for (const visit of shuffled(visits, random)) await pay(visit, load, grounds.ca, options);
    }
  } finally {
    await load.stop();
  }
  for (const visit of visits) outcomes.set(key(visit.trial, visit.driver), outcomeOf(visit));

  const held = new Map<string, Slice[]>();
  for (let round = 1; round <= Math.min(options.rounds, MEMORY_ROUNDS); round++) {
    if (idle.length > 0) options.say(`memory, round ${round}, ${idle.length} visits`);
    for (const [trial, driver] of shuffled(idle, random)) {
      const name = key(trial, driver.name);
      try {
        const { slice, version } = await memory(grounds, trial, driver);
        versions[driver.name] = version;
        held.set(name, [...(held.get(name) ?? []), slice]);
        const cell = cellOf(held.get(name) ?? [], trial.unit);
        outcomes.set(name, { kind: 'measured', cell });
      } catch (error) {
        options.say(`${driver.name}, ${trial.title}: ${(error as Error).message}`);
        outcomes.set(name, { kind: 'failed', why: (error as Error).message });
      }
    }
  }

  const never: Outcome = { kind: 'failed', why: 'it was never visited' };
  const rows = trials.map((trial): Row => {
    const drivers = trial.ground === 'balanced' ? balancers : terminators;
    const outcomeIn = ({ name }: Driver | BalancerDriver): [string, Outcome] => [
      name,
      outcomes.get(key(trial, name)) ?? never,
    ];
    return { trial, outcomes: Object.fromEntries(drivers.map(outcomeIn)) };
  });
  return { rows, versions };
}

function startFor(
  grounds: Grounds,
  trial: Trial,
  driver: Driver | BalancerDriver,
): Promise<Started> {
  return trial.ground === 'balanced'
    ? grounds.balancer(driver as BalancerDriver)
    : grounds.terminator(driver as Driver, trial.ground);
}

async function pay(
  visit: Visit,
  load: LoadProcess,
  ca: string,
  options: RunOptions,
): Promise<void> {
  const { trial, server } = visit;
  try {
    const slice = await load.slice({
      options: loadOptions(trial, server.port, ca),
      pids: processTree(server.pid),
      warmUpMs: WARM_UP_MS,
      sliceMs: options.sliceMs,
    });
    visit.slices.push(slice);
    const failed = errorsOf(slice.errors);
    if (failed > 0) options.say(`${visit.driver}, ${trial.title}: ${failed} errors`);
  } catch (error) {
    visit.trouble.push((error as Error).message);
    options.say(`${visit.driver}, ${trial.title}: ${(error as Error).message}`);
  }
}

function loadOptions(trial: Trial, port: number, ca: string): LoadOptions {
  const path = trial.unit === 'µs per MB' ? MILLION : PAGE;
  return {
    ...BASE,
    targets: [{ host: '127.0.0.1', port, serverName: 'localhost', path }],
    durationMs: 0,
    ca,
    seed: 1,
    ...trial.load,
  };
}

function outcomeOf({ trial, slices, trouble }: Visit): Outcome {
  if (trouble[0] !== undefined) return { kind: 'failed', why: trouble[0] };
  return judged(trial, cellOf(slices, trial.unit));
}

/** Whether it did what the row says; a resumed share from a server that never answered is none. */
export function judged(trial: Trial, cell: Cell): Outcome {
  const failed = errorsOf(cell.errors);
  if (cell.connections === 0) {
    return { kind: 'failed', why: `no connection, ${describeErrors(cell.errors)}` };
  }
  if (failed > cell.connections * MAX_ERRORS) {
    return { kind: 'other', cell, why: 'that is too many' };
  }
  const share = cell.resumedShare;
  if (trial.wants === 'full' && share !== null && share > 0) {
    return { kind: 'other', cell, why: 'sessions were resumed' };
  }
  if (trial.wants === 'resumed' && !(share !== null && share >= MIN_RESUMED)) {
    const resumed = `${((share ?? 0) * 100).toFixed(1)} % of the offered sessions were resumed`;
    return { kind: 'other', cell, why: share === null ? 'it gives no sessions' : resumed };
  }
  return { kind: 'measured', cell };
}

export function describeErrors(errors: Readonly<Partial<Record<LoadError, number>>>): string {
  const texts = Object.entries(errors).map(([kind, count]) => `${count} ${kind}`);
  return texts.length === 0 ? 'no error' : texts.join(', ');
}

/**
 * A fresh server, some connections held, then many more: the difference in its processes' memory
 * belongs to those many. As a Slice, whose "connections" they are and whose "CPU" is KiB.
 */
async function memory(
  grounds: Grounds,
  trial: Trial,
  driver: Driver,
): Promise<{ slice: Slice; version: string }> {
  const origin = new IdleOrigin();
  const loads: LoadProcess[] = [];
  const server = await grounds.fresh(driver, trial.ground, await origin.listen());
  let held = 0;
  try {
    const hold = async (clients: number): Promise<number> => {
      const load = new LoadProcess(LOAD_CORE);
      loads.push(load);
      const options = loadOptions(trial, server.port, grounds.ca);
      // Gently: what is measured is how they rest, not how they came.
      const patience = { responseTimeoutMs: 600_000, rampMs: RAMP_MS };
      load.hold({ ...options, ...patience, clients });
      held += clients;
      const waiting = await origin.waitFor(held, HOLD_PATIENCE_MS);
      if (waiting < held) throw new Error(`only ${waiting} of ${held} connections stay idle`);
      await delay(SETTLE_MS);
      return proportionalKib(processTree(server.pid));
    };
    const before = await hold(HELD_FIRST);
    const after = await hold(HELD);
    const slice: Slice = {
      connections: HELD,
      megabytes: 0,
      seconds: 1,
      cpuUs: after - before,
      resumed: 0,
      offered: 0,
      errors: {},
      generatorBusy: 0,
    };
    return { slice, version: server.version };
  } finally {
    for (const load of loads) await load.stop();
    await server.stop();
    origin.close();
  }
}
