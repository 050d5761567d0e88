/** Clients that take their time: served while they are within it, closed when they are not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { visit } from '../../cli/visit.ts';
import { atRest, count, statsUntil } from './at-rest.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import { startOrigin } from './origin.ts';
import { RawClient, isServerHello, recordedHello, startTrickle } from './raw-client.ts';
import { connectTls13, helloBytes } from './tls13-client.ts';

const TIMEOUT_MS = 400;
/** Early by the clock's grain; late by what a busy machine needs. */
const NOT_BEFORE_MS = TIMEOUT_MS - 50;
const NOT_AFTER_MS = TIMEOUT_MS + 3_000;

test('a hello that comes in pieces with pauses is served, by a balancer and by a terminator', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  const terminator = await startTerminator(t, origin.address);
  const balancer = await startBalancer(t, [terminator.address]);
  const { ca } = await testFiles();
  const slowly = { pieceBytes: 97, pauseMs: 15, slowBytes: 2_000 };
  const visits = await Promise.all(
    [balancer, terminator].flatMap(({ port }) =>
      (['TLSv1.2', 'TLSv1.3'] as const).map(async (version) => {
        const slow = await startTrickle(t, port, slowly);
        return visit({ host: '127.0.0.1', port: slow, ca, version, client: null, session: null });
      }),
    ),
  );
  for (const { error, protocol, body } of visits) {
    assert.equal(error, null);
    assert.match(body, /origin/);
    assert.match(protocol, /^TLSv1\.[23]$/);
  }

  // In records of forty bytes too: a piece ends in a header, another in the middle of a record.
  const client = await connectTls13({
    ...{ port: balancer.port, rawBytes: 2_003, recordBytes: 40 },
    send: async (socket, hello) => {
      for (let at = 0; at < hello.length; at += 103) {
        socket.write(hello.subarray(at, at + 103));
        await delay(10);
      }
    },
  });
  client.write('GET / HTTP/1.1\r\n\r\n');
  await client.ended();
  client.end();
  assert.match(client.text(), /^HTTP\/1.1 200 /);

  const stats = await atRest(balancer);
  assert.equal(count(stats, 'helloWhole'), 3);
  assert.equal(count(stats, 'helloTimeout'), 0);
});

test('who has not said hello in time is closed without a word and counted, trickling or not', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  const terminator = await startTerminator(t, origin.address, ['--workers', '1']);
  const balancer = await startBalancer(
    t,
    [terminator.address],
    ['--hello-timeout', `${TIMEOUT_MS}ms`],
  );
  const hello = recordedHello('node24-tls13');
  const clients = await Promise.all([1, 2, 3].map(() => RawClient.open(balancer.port)));
  const [, half, trickling] = clients as [RawClient, RawClient, RawClient];
  half.write(hello.subarray(0, hello.length >> 1));
  const trickle = (async () => {
    for (const byte of hello) {
      if (trickling.ending !== null || !trickling.socket.writable) return;
      trickling.write(Uint8Array.of(byte));
      await delay(20);
    }
  })();
  for (const client of clients) {
    const seen = await client.ended();
    assert.equal(seen.bytes.length, 0);
    assert.ok(seen.ms > NOT_BEFORE_MS && seen.ms < NOT_AFTER_MS, `closed after ${seen.ms} ms`);
  }
  await trickle;

  const stats = await atRest(balancer);
  assert.equal(count(stats, 'helloTimeout'), 3);
  assert.equal(count(stats, 'connects'), 0);
});

test('of too many silent clients the oldest are shed, and who speaks is served', async (t) => {
  const room = 16;
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  const terminator = await startTerminator(t, origin.address, ['--workers', '1']);
  const balancer = await startBalancer(t, [terminator.address], ['--max-hellos', `${room}`]);
  const clients: RawClient[] = [];
  for (let i = 0; i < room; i++) clients.push(await RawClient.open(balancer.port));
  await statsUntil(balancer, 'silence', (stats) => count(stats, 'undecidedHellos') === room);
  assert.equal(count(await balancer.stats(), 'helloShed'), 0);

  for (let i = 0; i < 4; i++) clients.push(await RawClient.open(balancer.port));
  await Promise.all(clients.slice(0, 4).map((client) => client.ended()));
  const { ca } = await testFiles();
  const { port } = balancer;
  const served = await visit({
    ...{ host: '127.0.0.1', port, ca, client: null, session: null },
    version: 'TLSv1.3',
  });
  assert.equal(served.error, null);

  // It took the place of a fifth while its own hello was on the way.
  await clients[4]?.ended();
  const stats = await balancer.stats();
  assert.equal(count(stats, 'helloShed'), 5);
  assert.equal(count(stats, 'undecidedHellos'), room - 1);
  assert.deepEqual(
    clients.slice(5).map(({ ending }) => ending),
    clients.slice(5).map(() => null),
  );
  for (const client of clients) client.reset();
  await atRest(balancer);
});

test('a terminator closes handshakes that take too long, in every state, and counts them', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  const flags = ['--workers', '1', '--handshake-timeout', `${TIMEOUT_MS}ms`];
  const terminator = await startTerminator(t, origin.address, flags);
  const hello = helloBytes();
  const clients = await Promise.all([1, 2, 3, 4].map(() => RawClient.open(terminator.port)));
  const [silent, half, waiting, waiting12] = clients as [
    RawClient,
    RawClient,
    RawClient,
    RawClient,
  ];
  half.write(hello.subarray(0, 50));
  waiting.write(hello);
  waiting12.write(recordedHello('openssl-tls12'));
  for (const client of clients) {
    const { ms } = await client.ended();
    assert.ok(ms > NOT_BEFORE_MS && ms < NOT_AFTER_MS, `closed after ${ms} ms`);
  }
  assert.equal(silent.bytes.length, 0);
  assert.equal(half.bytes.length, 0);
  assert.ok(isServerHello(waiting.bytes) && isServerHello(waiting12.bytes));

  const stats = await atRest(terminator);
  assert.equal(count(stats, 'handshakeTimeout'), 4);
  assert.equal(count(stats, 'handshakeAbandoned'), 4);
  assert.equal(origin.connections, 0);
});

test('a handshake whose key operation or fiber does not come in time is closed, and leaves nothing', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  const terminator = await startTerminator(t, origin.address, [
    ...['--workers', '1', '--handshake-timeout', '200ms', '--max-fibers', '4'],
    // The first operation takes 788,874 turns of the loop: one at the device for longer than that,
    // three in our queue for it, four handshakes without a fiber.
    ...['--device', 'test:970000,depth=1'],
  ]);
  const clients = await Promise.all(
    Array.from({ length: 8 }, () => RawClient.open(terminator.port)),
  );
  for (const client of clients) client.write(helloBytes());
  const seen = await Promise.all(clients.map((client) => client.ended()));
  assert.deepEqual(
    seen.map(({ bytes }) => bytes.length),
    seen.map(() => 0),
  );
  const stats = await atRest(terminator);
  assert.equal(count(stats, 'handshakeTimeout'), 8);
  assert.equal(count(stats, 'handshakeAbandoned'), 8);
  // Four at least: whoever goes makes a fiber free for somebody who has a moment left.
  assert.ok(count(stats, 'opsCancelled') >= 4);
  assert.ok(count(stats, 'opsQueued') >= 3);
  assert.equal(count(stats, 'fibersAllocated'), 4);
});
