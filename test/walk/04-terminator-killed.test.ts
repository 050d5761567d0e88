import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertServed, CLIENTS, down, startLoadedFarm, stopLoad } from './failover.ts';
import { failed } from './load.ts';

test('a terminator killed under load: every new client is served, in time and soon as fast as ever', async (t) => {
  const farm = await startLoadedFarm(t);
  const { balancer, victim } = farm;
  const known = down(farm);
  const killedAtMs = Date.now();
  await victim.kill();
  await assertServed(t, farm, killedAtMs, known);

  const visits = await stopLoad(farm);
  // What it had begun to answer is lost with it; that is one visit of each client at most.
  assert.ok(failed(visits).length <= CLIENTS);
  assert.ok(failed(visits).every(({ startedAtMs }) => startedAtMs <= killedAtMs));
  const after = visits.filter(({ startedAtMs }) => startedAtMs > killedAtMs);
  assert.ok(after.every(({ served }) => served === 'survivor'));
  // Those who came back with a session of the dead one got a full handshake from the other.
  assert.ok(after.some(({ offered, resumed }) => offered && !resumed));
  assert.ok(after.some(({ offered, resumed }) => offered && resumed));

  const { counters } = await balancer.stats();
  assert.equal(counters['noTerminator'], 0);
  assert.equal(counters['connections'], 0);
});
