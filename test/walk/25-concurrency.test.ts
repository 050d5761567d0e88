/** Many at once, and many one after the other: all served, nothing left over. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createSecureContext } from 'node:tls';
import type { SecureVersion } from 'node:tls';
import { atRest, count, openFiles, rise, sumOf } from './at-rest.ts';
import type { FarmMember, Stats } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { call, hold } from './tls-client.ts';

const AT_ONCE = 500;
const IN_SEQUENCE = 10_000;
/** Loops beside each other, each strictly one connection after the other. */
const LOOPS: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3', 'TLSv1.2', 'TLSv1.3'];

const file: Cleanup = { after: (close) => after(() => void close()) };
const origin = await startOrigin(file, {
  kind: 'custom',
  serve: (socket) => {
    socket.on('data', (chunk: Buffer) => {
      if (chunk.toString('latin1', 0, 4) === 'GET ') socket.end('HTTP/1.1 200 OK\r\n\r\npage');
      else socket.write(chunk);
    });
    socket.on('end', () => socket.end());
  },
});
const terminators = await Promise.all([1, 2].map(() => startTerminator(file, origin.address)));
const balancer = await startBalancer(
  file,
  terminators.map(({ address }) => address),
  // 500 full handshakes at once take a small machine longer than a second.
  ['--balance', 'leastconn', '--first-byte-timeout', '10s', '--connect-timeout', '10s'],
);

test('500 clients are established at the same time, then each is served, then nothing is left', async () => {
  const before = await everybodyAtRest();
  const clients = await Promise.all(
    Array.from({ length: AT_ONCE }, () => hold(balancer, { ALPNProtocols: ['http/1.1'] })),
  );
  const during = await everybody((member) => member.stats());
  const [balancing, ...terminating] = during as [Stats, Stats, Stats];
  assert.equal(count(balancing, 'relaying'), AT_ONCE);
  for (const stats of terminating) assert.equal(count(stats, 'connections'), AT_ONCE / 2);

  const answers = await Promise.all(clients.map((client, i) => client.echo(`I am ${i}.`)));
  assert.deepEqual(
    answers,
    answers.map((_, i) => `I am ${i}.`),
  );
  await Promise.all(clients.map((client) => client.end()));
  assert.deepEqual(
    new Set(await Promise.all(clients.map(({ closed }) => closed))),
    new Set([null]),
  );

  const atEnd = await everybodyAtRest();
  assert.equal(sum(atEnd.stats, 'handshakeFull') - sum(before.stats, 'handshakeFull'), AT_ONCE);
  assert.deepEqual(atEnd.files, before.files);
});

test('10,000 clients one after the other are served without an error, and nothing is left', async (t) => {
  const { ca } = await testFiles();
  const before = await everybodyAtRest();
  const startedAt = performance.now();
  let resumed = 0;
  await Promise.all(
    LOOPS.map(async (version) => {
      // One context each, as programs that connect often have: making one costs more than resuming.
      const secureContext = createSecureContext({
        ...{ ca, minVersion: version, maxVersion: version, ecdhCurve: 'X25519' },
      });
      let session: Buffer | null = null;
      for (let i = 0; i < IN_SEQUENCE / LOOPS.length; i++) {
        const offer = session === null ? {} : { session };
        const seen = await call(balancer, { secureContext, ...offer });
        assert.equal(seen.error, null, `connection ${i} of a ${version} loop`);
        assert.equal(seen.body, 'page');
        session = seen.session ?? session;
        if (seen.resumed) resumed++;
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  t.diagnostic(`${(IN_SEQUENCE / seconds).toFixed(0)} connections/s, ${resumed} resumed`);
  assert.equal(resumed, IN_SEQUENCE - LOOPS.length);

  const atEnd = await everybodyAtRest();
  assert.equal(
    sum(atEnd.stats, 'handshakeFull') - sum(before.stats, 'handshakeFull'),
    LOOPS.length,
  );
  assert.equal(
    sum(atEnd.stats, 'handshakeResumed') - sum(before.stats, 'handshakeResumed'),
    resumed,
  );
  assert.equal(sum(atEnd.stats, 'failed') - sum(before.stats, 'failed'), 0);
  const [balancingBefore, balancing] = [before.stats[0], atEnd.stats[0]] as [Stats, Stats];
  assert.equal(rise(balancingBefore, balancing, 'closedClean'), IN_SEQUENCE);
  assert.equal(rise(balancingBefore, balancing, 'retried'), 0);
  assert.deepEqual(atEnd.files, before.files);
});

function everybody<T>(ask: (member: FarmMember) => Promise<T>): Promise<T[]> {
  return Promise.all([balancer, ...terminators].map(ask));
}

async function everybodyAtRest(): Promise<{ stats: Stats[]; files: number[] }> {
  const stats = await everybody(atRest);
  return { stats, files: stats.flatMap(({ sonPids }) => sonPids.map(openFiles)) };
}

function sum(all: readonly Stats[], prefix: string): number {
  return all.reduce((total, stats) => total + sumOf(stats, prefix), 0);
}
