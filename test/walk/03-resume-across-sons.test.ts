import assert from 'node:assert/strict';
import { test } from 'node:test';
import { terminatorOn } from '../../cli/demo-origin.ts';
import { startTerminator } from './farm.ts';
import { failed, startLoad } from './load.ts';
import { isAlive, startOriginThatKnowsSons } from './processes.ts';
import type { Heard, To } from './tls-client.ts';
import { call, sessionOf } from './tls-client.ts';

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
type Version = (typeof VERSIONS)[number];
/** The kernel throws a coin for each connection: that all of them miss one son has a chance of 2^-64. */
const TRIES = 64;

async function visit(to: To, version: Version, session: Buffer | null): Promise<Heard> {
  const heard = await call(to, {
    minVersion: version,
    maxVersion: version,
    ...(session === null ? {} : { session }),
  });
  assert.equal(heard.error, null);
  return heard;
}

for (const version of VERSIONS) {
  test(`${version}: a session that one son began is resumed by the other`, async (t) => {
    let sons: readonly number[] = [];
    const origin = await startOriginThatKnowsSons(t, () => sons);
    const terminator = await startTerminator(t, origin.address, ['--workers', '2']);
    sons = await terminator.sonPids();

    const first = await visit(terminator, version, null);
    assert.equal(first.resumed, false);
    const crossings = new Set<string>();
    let last = first;
    for (let tries = 0; tries < TRIES && crossings.size < 2; tries++) {
      const again = await visit(terminator, version, sessionOf(last));
      assert.equal(again.resumed, true);
      const [from, to] = [terminatorOn(last.body), terminatorOn(again.body)];
      if (from !== to) crossings.add(`${from} to ${to}`);
      // TLS 1.2 keeps its session: go on from the son that resumed it all the same.
      last = again.session === null ? { ...again, session: last.session } : again;
    }
    const [one, two] = sons;
    assert.deepEqual([...crossings].sort(), [`${one} to ${two}`, `${two} to ${one}`].sort());
    assert.equal((await terminator.stats()).counters['offeredButFull'], 0);
  });
}

test('a son killed under load is replaced on its socket: nobody is refused, sessions live on', async (t) => {
  let sons: readonly number[] = [];
  const origin = await startOriginThatKnowsSons(t, () => sons);
  const terminator = await startTerminator(t, origin.address, ['--workers', '2']);
  sons = await terminator.sonPids();
  const [victim, survivor] = sons;
  assert.ok(victim !== undefined && survivor !== undefined);

  // Sessions of the son that is going to die.
  const kept: { version: Version; session: Buffer }[] = [];
  for (let tries = 0; tries < 2 * TRIES && kept.length < 4; tries++) {
    const version = VERSIONS[kept.length % 2] as Version;
    const heard = await visit(terminator, version, null);
    if (terminatorOn(heard.body) !== String(victim)) continue;
    kept.push({ version, session: sessionOf(heard) });
  }
  assert.equal(kept.length, 4);

  // Looking up who asks is not for a crowd.
  sons = [];
  const load = await startLoad(t, terminator, { clients: 20, restMs: 20 });
  t.diagnostic(`seed ${load.seed}`);
  await load.more(200);
  const replaced = terminator.waitFor('son replaced');
  const killedAtMs = Date.now();
  process.kill(victim, 'SIGKILL');
  const line = await replaced;
  const successor = Number(line['son']);
  assert.equal(line['delayMs'], 0);
  await load.moreSince(Date.now(), 300);
  const visits = await load.stop();

  // What the dead son had accepted is lost with it; nobody who came after that, or waited in its
  // queue, notices more than a delay.
  const after = visits.filter(({ startedAtMs }) => startedAtMs > killedAtMs);
  assert.deepEqual(failed(after), []);
  assert.deepEqual(
    failed(visits).filter(({ error }) => error?.includes('ECONNREFUSED')),
    [],
  );
  assert.ok(failed(visits).length <= 20, 'at most one visit of each client was under way');
  assert.deepEqual(
    after.filter(({ offered, resumed }) => offered && !resumed),
    [],
  );

  const pids = await terminator.sonPids();
  assert.deepEqual(new Set(pids), new Set([successor, survivor]));
  assert.equal(isAlive(victim), false);
  sons = pids;
  const served = new Set<string | null>();
  for (let tries = 0; tries < TRIES && served.size < 2; tries++) {
    for (const { version, session } of kept) {
      const heard = await visit(terminator, version, session);
      assert.equal(heard.resumed, true);
      served.add(terminatorOn(heard.body));
    }
  }
  assert.deepEqual(served, new Set(pids.map(String)), 'the successor serves, too');
});

test('a son that dies again is replaced after a pause, and its clients wait for the successor', async (t) => {
  let sons: readonly number[] = [];
  const origin = await startOriginThatKnowsSons(t, () => sons);
  const terminator = await startTerminator(t, origin.address, ['--workers', '1']);
  for (const delayMs of [0, 100, 200]) {
    const [victim] = await terminator.sonPids();
    const died = terminator.waitFor('son died');
    const replaced = terminator.waitFor('son replaced');
    process.kill(victim ?? 0, 'SIGKILL');
    await died;
    // Nobody accepts now: the connection waits in the socket that the father holds.
    const waiting = visit(terminator, 'TLSv1.3', null);
    const line = await replaced;
    assert.equal(line['delayMs'], delayMs);
    sons = [Number(line['son'])];
    assert.equal((await waiting).error, null);
  }
});
