/** At every limit the farm waits, says so, burns nothing, and goes on when it can. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { visit } from '../../cli/visit.ts';
import { native } from '../../native/index.ts';
import { atRest, count, cpuMs, openFiles, rise, statsUntil } from './at-rest.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { RawClient } from './raw-client.ts';
import type { Held } from './tls-client.ts';
import { hold } from './tls-client.ts';
import { connectTls13 } from './tls13-client.ts';

const WATCH_MS = 1_000;
/** Of one core, while it can do nothing but wait. */
const WAITING_SHARE = 0.05;
const IDLE_SHARE = 0.01;

type Role = 'balancer' | 'terminator';
const ROLES: readonly Role[] = ['balancer', 'terminator'];

describe('more clients than fit wait in the queue, without spinning, and all are served', () => {
  for (const role of ROLES) {
    test(`at the ${role}'s file limit`, async (t) => {
      const member = await startRole(t, role, []);
      // Its sons inherit it. 64 are kept for the process itself, two for each connection.
      limitFiles(member.pid, 256);
      const since = member.mark();
      await member.reload();
      const warning = await member.waitFor('fewer connections than wanted: file limit', { since });
      const room = Number(warning['maxConnections']);
      assert.ok(room > 50 && room < 100, `room for ${room}`);
      await crowd(member, room, 150);
    });

    test(`at the ${role}'s --max-connections`, async (t) => {
      const member = await startRole(t, role, ['--max-connections', '10']);
      await crowd(member, 10, 35);
    });
  }
});

/** `clients` connect at once where there is room for fewer. */
async function crowd(member: FarmMember, room: number, clients: number): Promise<void> {
  const before = await member.stats();
  const held: Held[] = [];
  const all = Array.from({ length: clients }, async () => {
    const client = await hold(member);
    held.push(client);
    return client;
  });
  const full = await statsUntil(member, 'a full house', (stats) => {
    return count(stats, 'connections') === room && held.length === room;
  });
  assert.ok(rise(before, full, 'acceptPauses') >= 1);
  const line = await member.waitFor('accepting paused', { since: 0 });
  assert.equal(line['reason'], 'maxConnections');
  await assertCalm(member, WATCH_MS, WAITING_SHARE);
  assert.equal(count(await member.stats(), 'connections'), room);

  // They leave one by one; for each of them one of those who wait comes in.
  await Promise.all(
    all.map(async (coming, i) => {
      const client = await coming;
      assert.equal(await client.echo(`I am ${i}.`), `I am ${i}.`);
      await client.end();
      assert.equal(await client.closed, null);
    }),
  );
  const after = await atRest(member);
  assert.equal(rise(before, after, 'accepted'), clients);
  assert.equal(rise(before, after, 'closedClean'), clients);
  await member.waitFor('accepting resumed', { since: 0 });
}

for (const role of ROLES) {
  test(`out of descriptors against all reckoning a ${role} pauses, and goes on when there are some`, async (t) => {
    const member = await startRole(t, role, []);
    const before = await member.stats();
    const [son] = before.sonPids;
    if (son === undefined) throw new Error('no son');
    limitFiles(son, openFiles(son) + 20);

    const since = member.mark();
    const clients = await Promise.all(
      Array.from({ length: 40 }, () => RawClient.open(member.port)),
    );
    const line = await member.waitFor('accepting paused', { since });
    assert.equal(line['reason'], 'EMFILE');
    const full = await member.stats();
    const room = count(full, 'connections');
    // The limit is a number that no descriptor may have: gaps below it are used up too.
    assert.ok(room >= 20 && room < 30, `${room} connections`);
    await assertCalm(member, WATCH_MS, WAITING_SHARE);
    assert.ok(rise(before, await member.stats(), 'acceptPauses') >= 2, 'it does not look again');

    for (const client of clients.slice(0, room)) client.reset();
    await statsUntil(member, 'the others', (stats) => rise(before, stats, 'accepted') === 40);
    for (const client of clients) client.reset();
    const after = await atRest(member);
    assert.deepEqual(after.sonPids, [son]);
    const client = await hold(member);
    assert.equal(await client.echo('served'), 'served');
    await client.end();
  });
}

describe('without an upstream a client is reset, not told that this was all', () => {
  const cases: readonly {
    what: string;
    counter: string;
    upstream(t: Cleanup): Promise<string>;
  }[] = [
    { what: 'refused', counter: 'upstreamRefused', upstream: closedPort },
    { what: 'not there', counter: 'upstreamRefused', upstream: missingSocket },
    { what: 'not accepting', counter: 'upstreamTimeout', upstream: fullBacklog },
  ];
  for (const { what, counter, upstream } of cases) {
    test(what, async (t) => {
      const flags = ['--workers', '1', '--connect-timeout', '300ms'];
      const terminator = await startTerminator(t, await upstream(t), flags);
      const balancer = await startBalancer(t, [terminator.address]);
      for (const { port } of [terminator, balancer]) {
        const client = await connectTls13({ port });
        assert.equal(await client.ended(), 'reset');
        assert.equal(client.closeNotify, false);
      }
      assert.equal(count(await atRest(terminator), counter), 2);
      assert.equal(count(await atRest(balancer), 'terminatorReset'), 1);
      await terminator.waitFor('upstream failed', { since: 0 });
    });
  }
});

describe('who is silent for the idle time-out is reset on both sides; who speaks is not', () => {
  for (const role of ROLES) {
    test(`at a ${role}`, async (t) => {
      const endings: string[] = [];
      const member = await startRole(t, role, ['--idle-timeout', '500ms'], (socket) => {
        socket.on('data', (chunk) => socket.write(chunk));
        socket.once('end', () => endings.push('fin'));
        socket.once('error', () => endings.push('reset'));
      });
      const [silent, speaking] = await Promise.all([1, 2].map(() => connectTls13(member)));
      if (silent === undefined || speaking === undefined) throw new Error('nobody');
      silent.write('hello');
      await silent.receives(5);
      const since = performance.now();
      for (let i = 1; silent.ending === null || i <= 10; i++) {
        speaking.write('.');
        await speaking.receives(i);
        await delay(100);
      }
      assert.equal(await silent.ended(), 'reset');
      assert.equal(silent.closeNotify, false);
      assert.ok(performance.now() - since >= 450);
      assert.deepEqual(endings, ['reset']);
      assert.equal(count(await member.stats(), 'idleTimeout'), 1);
      speaking.end();
      speaking.socket.destroy();
      await atRest(member);
    });
  }
});

test('a farm without clients uses no CPU, a device that is polled included', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  const terminator = await startTerminator(t, origin.address, ['--device', 'test:8']);
  const balancer = await startBalancer(t, [terminator.address]);
  const { ca } = await testFiles();
  const { host, port } = balancer;
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { error } = await visit({ host, port, ca, version, client: null, session: null });
    assert.equal(error, null);
  }
  for (const member of [balancer, terminator]) await atRest(member);
  await Promise.all([balancer, terminator].map((member) => assertCalm(member, 2_000, IDLE_SHARE)));
});

/** One role with all around it that it needs; the origin echoes unless told. */
async function startRole(
  t: Cleanup,
  role: Role,
  flags: readonly string[],
  serve?: (socket: Socket) => void,
): Promise<FarmMember> {
  const origin = await startOrigin(
    t,
    serve === undefined ? { kind: 'echo' } : { kind: 'custom', serve },
  );
  const one = ['--workers', '1'];
  if (role === 'terminator') return startTerminator(t, origin.address, [...one, ...flags]);
  const terminator = await startTerminator(t, origin.address, one);
  return startBalancer(t, [terminator.address], [...one, '--max-pipes', '8', ...flags]);
}

/** Father and sons together. */
async function assertCalm(member: FarmMember, forMs: number, share: number): Promise<void> {
  const pids = [member.pid, ...(await member.sonPids())];
  const cost = (): number => pids.reduce((sum, pid) => sum + cpuMs(pid), 0);
  const before = cost();
  await delay(forMs);
  const spent = cost() - before;
  assert.ok(spent <= share * forMs, `${spent.toFixed(1)} ms of CPU in ${forMs} ms`);
}

/** RLIMIT_NOFILE, soft and hard, of a process that runs. */
function limitFiles(pid: number, files: number): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${files}:${files}`]);
}

async function closedPort(t: Cleanup): Promise<string> {
  const origin = await startOrigin(t, { kind: 'silent' });
  await origin.close();
  return origin.address;
}

async function missingSocket(): Promise<string> {
  return `unix:${join((await testFiles()).folder, 'nobody.sock')}`;
}

/** Somebody who listens and does not accept; its queue is full, so nothing answers a SYN. */
async function fullBacklog(t: Cleanup): Promise<string> {
  const { fd, port } = native.openListener({ host: '127.0.0.1', port: 0 }, 1);
  const fillers = [1, 2].map(() => connect({ host: '127.0.0.1', port }));
  t.after(() => {
    for (const filler of fillers) filler.destroy();
    native.closeFd(fd);
  });
  await Promise.all(fillers.map((filler) => once(filler, 'connect')));
  return `127.0.0.1:${port}`;
}
