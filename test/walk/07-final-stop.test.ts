import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { test } from 'node:test';
import { page } from '../../cli/demo-origin.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { failed, startLoad } from './load.ts';
import { startOrigin } from './origin.ts';
import { gone } from './processes.ts';
import { call, hold } from './tls-client.ts';

const OK = { status: 0, signal: null };
/** Far below --drain-timeout's 30 s, far above what a busy machine needs to end three processes. */
const AT_ONCE_MS = 10_000;

test('behind a balancer one of two terminators stops under load: no client notices, exit 0', async (t) => {
  const [stopped, other] = await Promise.all(
    ['stopped', 'other'].map(async (name) => {
      const origin = await startOrigin(t, { kind: 'page', name });
      return startTerminator(t, origin.address);
    }),
  );
  assert.ok(stopped !== undefined && other !== undefined);
  const balancer = await startBalancer(t, [stopped.address, other.address]);
  const load = await startLoad(t, balancer, { clients: 40, restMs: 50 });
  t.diagnostic(`seed ${load.seed}`);
  await load.more(400);
  assert.ok(load.visits.some(({ served }) => served === 'stopped'));

  const sons = await stopped.sonPids();
  assert.deepEqual(await stopped.stop(), OK);
  const stoppedAtMs = Date.now();
  await load.moreSince(stoppedAtMs, 400);
  const visits = await load.stop();
  assert.deepEqual(failed(visits), []);
  const later = visits.filter(({ startedAtMs }) => startedAtMs > stoppedAtMs);
  assert.ok(later.every(({ served }) => served === 'other'));
  await gone(sons, 1_000);
});

test('hit directly under load: what accept() has taken is served, later connects are refused, exit 0', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'one' });
  const terminator = await startTerminator(t, origin.address);
  const load = await startLoad(t, terminator, { clients: 60, restMs: 0 });
  t.diagnostic(`seed ${load.seed}`);
  await load.more(500);
  const last = terminator.waitFor('stats');
  assert.deepEqual(await terminator.stop(), OK);
  const visits = await load.stop();
  const { counters } = (await last) as unknown as { counters: Record<string, number> };
  // A connection that reaches the queue between the last accept() and the shutdown is reset by the
  // kernel: the client sees an error, and it was never accepted.
  assert.equal(visits.length - failed(visits).length, counters['accepted']);
  assert.equal(origin.connections, counters['accepted']);
  assert.equal((await call(terminator)).error, 'ECONNREFUSED');
});

for (const role of ['terminator', 'balancer'] as const) {
  test(`a ${role} that stops serves everybody who waits in its accept queues`, async (t) => {
    const origin = await startOrigin(t, { kind: 'page', name: 'one' });
    const behind = await startTerminator(t, origin.address);
    const member =
      role === 'terminator' ? behind : await startBalancer(t, [behind.address], ['--workers', '2']);
    const sons = await member.sonPids();
    for (const son of sons) process.kill(son, 'SIGSTOP');
    const sockets = await Promise.all(Array.from({ length: 100 }, () => dial(member)));
    const calls = sockets.map((socket) => call(member, { socket }));
    const stopping = member.waitFor('stopping');
    const stats = member.waitFor('stats');
    member.signal('SIGTERM');
    await stopping;
    for (const son of sons) process.kill(son, 'SIGCONT');
    for (const heard of await Promise.all(calls)) {
      assert.deepEqual([heard.error, heard.body], [null, page('one')]);
    }
    assert.deepEqual(await member.exited, OK);
    const { counters } = (await stats) as unknown as { counters: Record<string, number> };
    assert.equal(counters['accepted'], sockets.length);
  });

  test(`a ${role} that stops lets a long connection finish, and takes no new one`, async (t) => {
    const origin = await startOrigin(t, { kind: 'echo' });
    const behind = await startTerminator(t, origin.address);
    const member = role === 'terminator' ? behind : await startBalancer(t, [behind.address]);
    const held = await hold(member);
    assert.equal(await held.echo('before'), 'before');
    member.signal('SIGTERM');
    await untilRefused(member);
    assert.equal(await held.echo('while it stops'), 'while it stops');
    await held.end();
    assert.equal(await held.closed, null);
    assert.deepEqual(await member.exited, OK);
  });

  test(`a ${role} closes what has not finished when --drain-timeout is over, exit 0`, async (t) => {
    const origin = await startOrigin(t, { kind: 'echo' });
    const behind = await startTerminator(t, origin.address, ['--drain-timeout', '1s']);
    const member =
      role === 'terminator'
        ? behind
        : await startBalancer(t, [behind.address], ['--drain-timeout', '1s']);
    const held = await hold(member);
    await held.echo('before');
    const sons = await member.sonPids();
    const from = performance.now();
    assert.deepEqual(await member.stop(), OK);
    const tookMs = performance.now() - from;
    assert.ok(tookMs >= 990 && tookMs < AT_ONCE_MS, `${tookMs} ms`);
    // An end without close_notify: the client can tell that it has not got everything.
    assert.equal(await held.closed, 'ECONNRESET');
    await gone(sons, 1_000);
  });

  test(`a ${role} told twice stops at once, exit 0`, async (t) => {
    const origin = await startOrigin(t, { kind: 'echo' });
    const behind = await startTerminator(t, origin.address);
    const member = role === 'terminator' ? behind : await startBalancer(t, [behind.address]);
    const held = await hold(member);
    await held.echo('before');
    const stopping = member.waitFor('stopping');
    member.signal('SIGTERM');
    await stopping;
    const from = performance.now();
    member.signal('SIGTERM');
    assert.deepEqual(await member.exited, OK);
    assert.ok(performance.now() - from < AT_ONCE_MS);
    assert.equal(await held.closed, 'ECONNRESET');
  });
}

function dial({ host, port }: FarmMember): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Between the signal and the closed socket connects are still served: try until one is refused. */
async function untilRefused(member: FarmMember): Promise<void> {
  const until = performance.now() + AT_ONCE_MS;
  for (;;) {
    const refusal = await dial(member).then(
      (socket) => {
        socket.destroy();
        return null;
      },
      (error: NodeJS.ErrnoException) => error.code,
    );
    if (refusal === 'ECONNREFUSED') return;
    assert.ok(performance.now() < until, `still accepting (${refusal})`);
  }
}
