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
const REST_MS = 300;
/** Clients of another balancer, which knows the survivor only: what is normal *now*. */
const BYSTANDERS = 20;
const BYSTANDERS_REST_MS = 150;
/** Five may be slower: neither a hiccup of the machine nor the one client of a trial is a percentile. */
const SAMPLES = 500;
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
  /** Nobody fails here: whatever slows these visits down is the machine. */
  readonly bystanders: Load;
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
  const load = await startLoad(t, balancer, { clients: CLIENTS, restMs: REST_MS });
  const elsewhere = await startBalancer(t, [survivor.address]);
  const bystanders = await startLoad(t, elsewhere, {
    clients: BYSTANDERS,
    restMs: BYSTANDERS_REST_MS,
  });
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
  return { balancer, victim, survivor, load, bystanders, normalMs };
}

/** The line by which the balancer says that it passes this terminator over, from now on. */
export async function down({ balancer, victim }: LoadedFarm): Promise<LogLine> {
  let since = balancer.mark();
  for (;;) {
    const line = await balancer.waitFor('terminator down', { since });
    if (line['terminator'] === victim.address) return line;
    since = balancer.log.indexOf(line) + 1;
  }
}

/**
 * Everybody who came after the failure is served, in time; and as fast as ever by the time the
 * balancer knows.
 */
export async function assertServed(
  t: { diagnostic(message: string): void },
  { load, bystanders, normalMs }: LoadedFarm,
  failedAtMs: number,
  known: Promise<LogLine>,
): Promise<void> {
  const knownAtMs = Number((await known)['time']);
  await load.moreSince(knownAtMs + 1, SAMPLES);
  const after = load.visits.filter(({ startedAtMs }) => startedAtMs > failedAtMs);
  const later = load.visits.filter(({ startedAtMs }) => startedAtMs > knownAtMs);
  const control = bystanders.visits.filter(({ startedAtMs }) => startedAtMs > knownAtMs);
  t.diagnostic(
    `known after ${knownAtMs - failedAtMs} ms; all: ${describe(after)}; later: ${describe(later)}; ` +
      `bystanders: ${describe(control)}`,
  );
  assert.deepEqual(failed(after), [], 'every new client is served');
  assert.ok(worst(after) <= WORST_MS, `worst ${worst(after)} ms`);
  // Twice the normal; and if a neighbour has begun to use the machine, what is normal beside him.
  const bound = 2 * Math.max(normalMs, percentile(control, 99), FLOOR_MS / 2);
  assert.ok(percentile(later, 99) <= bound, `p99 ${percentile(later, 99)} ms, bound ${bound} ms`);
}

/** No new clients; resolves with the visits of those at the farm when the last one has ended. */
export async function stopLoad({ load, bystanders }: LoadedFarm): Promise<readonly Visit[]> {
  const [visits, others] = await Promise.all([load.stop(), bystanders.stop()]);
  assert.deepEqual(failed(others), []);
  return visits;
}

function describe(visits: readonly Visit[]): string {
  const times = [50, 99].map((p) => `p${p} ${percentile(visits, p).toFixed(0)}`).join(', ');
  return `${visits.length} visits, ${times}, worst ${worst(visits).toFixed(0)} ms`;
}
