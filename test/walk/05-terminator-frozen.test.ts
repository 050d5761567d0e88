import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertServed, down, startLoadedFarm, stopLoad, WORST_MS } from './failover.ts';
import { failed, worst } from './load.ts';

test('a terminator frozen under load is passed over, tried by single clients, and used again when it has answered one', async (t) => {
  const farm = await startLoadedFarm(t);
  const { balancer, victim, load } = farm;
  const known = down(farm);
  const frozenAtMs = Date.now();
  // The whole group: father and sons. The kernel goes on accepting for them.
  process.kill(-victim.pid, 'SIGSTOP');
  await assertServed(t, farm, frozenAtMs, known);

  // All who were sent there before it was known have long gone on; from now on there are only trials.
  const since = balancer.mark();
  const before = (await balancer.stats()).counters;
  await load.moreSince(Date.now(), 200);
  const between = (await balancer.stats()).counters;
  const trials = (between['firstByteTimeout'] ?? 0) - (before['firstByteTimeout'] ?? 0);
  assert.ok(trials <= 2, `${trials} trials in a few seconds`);
  const frozen = load.visits.filter(({ startedAtMs }) => startedAtMs > frozenAtMs);
  assert.deepEqual(failed(frozen), []);
  assert.ok(worst(frozen) <= WORST_MS, 'a trial costs its client the time-out, and no more');
  assert.ok(frozen.every(({ served }) => served === 'survivor'));
  assert.deepEqual(
    balancer.log.slice(since).filter(({ msg }) => msg === 'terminator up'),
    [],
  );

  // The next trial is answered, and nobody had to say that it is back.
  const up = balancer.waitFor('terminator up', { timeoutMs: 60_000 });
  const thawedAtMs = Date.now();
  process.kill(-victim.pid, 'SIGCONT');
  const line = await up;
  assert.equal(line['terminator'], victim.address);
  const upAtMs = Number(line['time']);
  await load.moreSince(upAtMs + 1, 200);
  const visits = await stopLoad(farm);

  const thawed = visits.filter(({ startedAtMs }) => startedAtMs > thawedAtMs);
  assert.deepEqual(failed(thawed), []);
  const early = thawed.filter(({ served, endedAtMs }) => served === 'victim' && endedAtMs < upAtMs);
  assert.deepEqual(early, [], 'nobody is served there before it has answered a trial');
  const late = thawed.filter(({ startedAtMs }) => startedAtMs > upAtMs);
  assert.ok(
    late.some(({ served }) => served === 'victim'),
    'it is used again',
  );
  assert.ok(late.some(({ served, resumed }) => served === 'victim' && resumed));
});
