/** What 04 and 05 share: two terminators behind a balancer under load, of which one fails. */
import assert from 'node:assert/strict';
import { DEFAULT_TIMEOUTS } from '../../config/defaults.ts';
import type { FarmMember, LogLine } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import type { Load, Visit } from './load.ts';
import { failed, percentile, startLoad, worst } from './load.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';

export const CLIENTS = 40;
/** Rests, so that the clients' own waiting for a core is not what is measured. */
const REST_MS = 250;
/** Six slower ones decide: a single hiccup of the machine does not make a percentile. */
const SAMPLES = 600;
/**
 * Times below this are all the same to us: two sons, a balancer and forty clients share two cores
 * with whatever else runs, and a scheduler's slice is several milliseconds. What is to be told apart
 * are a second that a client waits for a dead terminator, and no wait.
 */
const FLOOR_MS = 100;
export const WORST_MS: number =
  DEFAULT_TIMEOUTS.connectTimeoutMs + DEFAULT_TIMEOUTS.firstByteTimeoutMs + 1_000;

export interface LoadedFarm {
  readonly balancer: FarmMember;
  /** It is going to fail; its page is `victim`. */
  readonly victim: FarmMember;
  /** Its page is `survivor`. */
  readonly survivor: FarmMember;
  readonly load: Load;
  /** 99th percentile of the visits before anything failed. */
  readonly normalMs: number;
}

export async function startLoadedFarm(
  t: Cleanup & { diagnostic(message: string): void },
): Promise<LoadedFarm> {
  const [victim, survivor] = await Promise.all(
    ['victim', 'survivor'].map(async (name) => {
      const origin = await startOrigin(t, { kind: 'page', name });
      return startTerminator(t, origin.address);
    }),
  );
  if (victim === undefined || survivor === undefined) throw new Error('two were started');
  const balancer = await startBalancer(t, [victim.address, survivor.address]);
  const load = await startLoad(balancer, { clients: CLIENTS, restMs: REST_MS });
  // The first ones meet cold code.
  await load.more(200);
  const from = load.visits.length;
  await load.more(SAMPLES);
  const normal = load.visits.slice(from);
  assert.deepEqual(failed(normal), []);
  const served = new Set(normal.map((visit) => visit.served));
  assert.deepEqual([...served].sort(), ['survivor', 'victim'], 'both terminators have clients');
  const normalMs = percentile(normal, 99);
  t.diagnostic(`seed ${load.seed}; normal: ${describe(normal)}`);
  return { balancer, victim, survivor, load, normalMs };
}

/**
 * Everybody who came after the failure is served, in time; and as fast as ever by the time the
 * balancer knows.
 */
export async function assertServed(
  t: { diagnostic(message: string): void },
  { load, normalMs }: LoadedFarm,
  failedAtMs: number,
  known: Promise<LogLine>,
): Promise<void> {
  const knownAtMs = Number((await known)['time']);
  await load.moreSince(knownAtMs + 1, SAMPLES);
  const after = load.visits.filter(({ startedAtMs }) => startedAtMs > failedAtMs);
  const later = load.visits.filter(({ startedAtMs }) => startedAtMs > knownAtMs);
  t.diagnostic(
    `known after ${knownAtMs - failedAtMs} ms; all: ${describe(after)}; later: ${describe(later)}`,
  );
  assert.deepEqual(failed(after), [], 'every new client is served');
  assert.ok(worst(after) <= WORST_MS, `worst ${worst(after)} ms`);
  const bound = 2 * Math.max(normalMs, FLOOR_MS / 2);
  assert.ok(percentile(later, 99) <= bound, `p99 ${percentile(later, 99)} ms, bound ${bound} ms`);
}

function describe(visits: readonly Visit[]): string {
  const times = [50, 99].map((p) => `p${p} ${percentile(visits, p).toFixed(0)}`).join(', ');
  return `${visits.length} visits, ${times}, worst ${worst(visits).toFixed(0)} ms`;
}
