import assert from 'node:assert/strict';
import { test } from 'node:test';
import { page } from '../../cli/demo-origin.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { gone, groupIsAlive, isAlive } from './processes.ts';
import type { Held } from './tls-client.ts';
import { call, hold } from './tls-client.ts';

/** A son leaves as soon as it has nothing to do; this is for a machine with a lot to do. */
const SOON_MS = 10_000;

interface Scene {
  readonly member: FarmMember;
  readonly sons: readonly number[];
  /** Open connections: so many that both sons have some (but for once in 2^19). */
  readonly held: readonly Held[];
}

async function startScene(
  t: Cleanup,
  role: 'terminator' | 'balancer',
  flags: readonly string[] = [],
): Promise<Scene> {
  const origin = await startOrigin(t, { kind: 'echo' });
  const behind = await startTerminator(t, origin.address, flags);
  const member =
    role === 'terminator'
      ? behind
      : await startBalancer(t, [behind.address], ['--workers', '2', ...flags]);
  const sons = await member.sonPids();
  assert.equal(sons.length, 2);
  const held = await Promise.all(Array.from({ length: 20 }, () => hold(member)));
  for (const one of held) assert.equal(await one.echo('before'), 'before');
  return { member, sons, held };
}

for (const role of ['terminator', 'balancer'] as const) {
  test(`the father of a ${role} is killed: its sons finish what they have and leave, and its port is free`, async (t) => {
    const { member, sons, held } = await startScene(t, role);
    process.kill(member.pid, 'SIGKILL');
    await member.exited;
    assert.deepEqual(sons.filter(isAlive), sons);
    for (const one of held) assert.equal(await one.echo('without a father'), 'without a father');
    for (const one of held) await one.end();
    for (const one of held) assert.equal(await one.closed, null);
    await gone(sons, SOON_MS);
    assert.equal(groupIsAlive(member.pid), false);
    assert.equal((await call(member)).error, 'ECONNREFUSED');

    const origin = await startOrigin(t, { kind: 'page', name: 'heir' });
    const listen = ['--listen', member.address];
    const heir = await startTerminator(t, origin.address, listen);
    assert.equal(heir.port, member.port);
    assert.equal((await call(heir)).body, page('heir'));
  });

  test(`the father of a ${role} is killed: its sons do not wait for ever`, async (t) => {
    const { member, sons, held } = await startScene(t, role, ['--drain-timeout', '1s']);
    process.kill(member.pid, 'SIGKILL');
    await gone(sons, SOON_MS);
    for (const one of held) assert.equal(await one.closed, 'ECONNRESET');
    assert.equal(groupIsAlive(member.pid), false);
  });
}
