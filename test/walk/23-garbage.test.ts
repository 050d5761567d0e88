/** What is not TLS, or not quite: closed, counted, forgotten; and the next client is served. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { visit } from '../../cli/visit.ts';
import { bytesOf, loadRecordings } from '../hellos/recording.ts';
import { random } from '../native/random.ts';
import { atRest, count, openFiles, rise, sumOf } from './at-rest.ts';
import type { FarmMember, Stats } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { RawClient } from './raw-client.ts';
import { connectTls13 } from './tls13-client.ts';

const CLIENTS = 2_000;
const AT_ONCE = 50;

const file: Cleanup = { after: (close) => after(() => void close()) };
const origin = await startOrigin(file, { kind: 'page', name: 'origin' });
const terminator = await startTerminator(file, origin.address, [
  ...['--workers', '1', '--handshake-timeout', '1s', '--linger-timeout', '1s'],
  ...['--device', 'test:8'],
]);
const balancer = await startBalancer(file, [terminator.address], ['--hello-timeout', '1s']);
const hellos = loadRecordings().map((recording) => Buffer.from(bytesOf(recording)));

/** Every way in which a connection can end at a balancer: each is in exactly one of them. */
const BALANCER_BEFORE_HELLO = [
  ...['helloWhole', 'helloNotTls', 'helloTooLarge', 'helloTimeout', 'helloShed'],
  'clientGoneEarly',
];
const BALANCER_AFTER_HELLO = [
  ...['routeRefused', 'noTerminator', 'clientReset', 'terminatorReset', 'idleTimeout'],
  'closedClean',
];

test('garbage at a balancer is closed, all of it counted, and nothing of it is left', async (t) => {
  const before = await bothAtRest();
  const files = openFiles(before.son);
  await garbage(t, balancer);
  const { balancing, terminating, son } = await bothAtRest();
  const sum = (names: readonly string[]): number =>
    names.reduce((total, name) => total + rise(before.balancing, balancing, name), 0);
  assert.equal(rise(before.balancing, balancing, 'accepted'), CLIENTS);
  assert.equal(sum(BALANCER_BEFORE_HELLO), CLIENTS);
  assert.equal(sum(BALANCER_AFTER_HELLO), rise(before.balancing, balancing, 'helloWhole'));
  // Each kind has been there, or the mixture is not what it should be.
  for (const name of [
    'helloNotTls',
    'helloTimeout',
    'clientGoneEarly',
    'routeRefused',
    'answered',
  ]) {
    assert.ok(rise(before.balancing, balancing, name) > 0, name);
  }
  assertAllHandshakesCounted(before.terminating, terminating);
  assert.equal(son, before.son);
  assert.equal(openFiles(son), files);
  await assertServed();
});

test('garbage at a terminator is closed, all of it counted, and nothing of it is left', async (t) => {
  const before = await bothAtRest();
  const [son] = await terminator.sonPids();
  if (son === undefined) throw new Error('no son');
  const files = openFiles(son);
  await garbage(t, terminator);
  const { terminating } = await bothAtRest();
  assert.equal(rise(before.terminating, terminating, 'accepted'), CLIENTS);
  assertAllHandshakesCounted(before.terminating, terminating);
  for (const name of ['failedNotTls', 'failedEof', 'failedReset', 'handshakeTimeout']) {
    assert.ok(rise(before.terminating, terminating, name) > 0, name);
  }
  assert.deepEqual(await terminator.sonPids(), [son]);
  assert.equal(openFiles(son), files);
  await assertServed();
});

test('records that hold nothing but alerts are closed and counted', async () => {
  const before = await bothAtRest();
  for (const { port } of [balancer, terminator]) {
    for (const alert of [Buffer.of(1, 0), Buffer.of(2, 40), Buffer.of(2), Buffer.alloc(0)]) {
      const client = await RawClient.open(port);
      client.write(Buffer.concat([Buffer.of(21, 3, 3, 0, alert.length), alert]));
      client.end();
      await client.ended();
    }
  }
  const { balancing, terminating } = await bothAtRest();
  assert.equal(rise(before.balancing, balancing, 'helloNotTls'), 4);
  assert.equal(rise(before.terminating, terminating, 'accepted'), 4);
  assertAllHandshakesCounted(before.terminating, terminating);
});

test('garbage after the handshake ends the connection, is counted, and never reaches the origin', async () => {
  const received: Buffer[] = [];
  const endings: string[] = [];
  const { address } = await startOrigin(file, {
    kind: 'custom',
    serve: (socket) => {
      socket.on('data', (chunk: Buffer) => received.push(chunk));
      socket.once('end', () => endings.push('fin'));
      socket.once('error', () => endings.push('reset'));
    },
  });
  const server = await startTerminator(file, address, ['--workers', '1']);
  for (const noise of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    // A record whose authentication is wrong, an empty one, one that is too long.
    Buffer.concat([Buffer.of(23, 3, 3, 0, 32), Buffer.alloc(32, 7)]),
    Buffer.of(23, 3, 3, 0, 0),
    Buffer.of(23, 3, 3, 0xff, 0xff),
  ]) {
    const client = await connectTls13({ port: server.port });
    client.write('before');
    client.socket.write(noise);
    await client.ended();
  }
  const stats = await atRest(server);
  assert.equal(count(stats, 'brokenByClient'), 4);
  assert.equal(Buffer.concat(received).toString(), 'before'.repeat(4));
  // Not an end that it would believe.
  assert.deepEqual(endings, ['reset', 'reset', 'reset', 'reset']);
});

interface AtRest {
  readonly balancing: Stats;
  readonly terminating: Stats;
  /** The balancer's. */
  readonly son: number;
}

async function bothAtRest(): Promise<AtRest> {
  const balancing = await atRest(balancer);
  const terminating = await atRest(terminator);
  return { balancing, terminating, son: balancing.sonPids[0] ?? 0 };
}

/** What was accepted has failed for one reason, or has come through. */
function assertAllHandshakesCounted(before: Stats, stats: Stats): void {
  const ended = (of: Stats): number =>
    sumOf(of, 'failed') +
    sumOf(of, 'handshakeFull') +
    sumOf(of, 'handshakeResumed') +
    count(of, 'handshakeTimeout');
  assert.equal(ended(stats) - ended(before), rise(before, stats, 'accepted'));
}

async function assertServed(): Promise<void> {
  const { ca } = await testFiles();
  for (const { port } of [balancer, terminator]) {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const to = { host: '127.0.0.1', port, ca, client: null, session: null };
      const { error, body } = await visit({ ...to, version });
      assert.equal(error, null);
      assert.match(body, /origin/);
    }
  }
}

type Dice = (below: number) => number;

async function garbage(t: TestContext, member: FarmMember): Promise<void> {
  const { seed, next } = random();
  t.diagnostic(`TLSFARM_SEED=${seed}`);
  const dice: Dice = (below) => Math.floor(next() * below);
  const one = async (): Promise<void> => {
    // Drawn before anything is awaited: the same seed makes the same clients.
    const bytes = makeGarbage(dice);
    const ending = dice(4);
    const pauseMs = dice(5);
    const cut = dice(bytes.length + 1);
    const client = await RawClient.open(member.port);
    client.write(bytes.subarray(0, cut));
    if (cut % 2 === 0) await delay(pauseMs);
    client.write(bytes.subarray(cut));
    if (ending === 0) client.reset();
    if (ending === 1) client.end();
    if (ending === 2) {
      await delay(pauseMs);
      client.reset();
    }
    // Otherwise it is up to them.
    await client.ended();
  };
  let left = CLIENTS;
  const loop = async (): Promise<void> => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, loop));
}

function makeGarbage(dice: Dice): Buffer {
  const hello = hellos[dice(hellos.length)] as Buffer;
  switch (dice(10)) {
    case 0:
      return arbitrary(dice, dice(4_000));
    case 1:
      return Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    case 2:
      return Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n');
    case 3:
      // SSL 2: length with the high bit, CLIENT-HELLO, version 3.3, 3 ciphers, no ID, 16 of challenge.
      return Buffer.concat([Buffer.from('802e0103030015000000100000', 'hex'), arbitrary(dice, 35)]);
    case 4:
      return Buffer.alloc(0);
    case 5:
      return hello.subarray(0, dice(hello.length));
    case 6:
      return Buffer.concat([hello, arbitrary(dice, 1 + dice(500))]);
    case 7:
      return Buffer.concat([Buffer.of(22, 3, 1, dice(64), dice(256), 1, 0), arbitrary(dice, 600)]);
    default:
      return mutate(dice, hello);
  }
}

/** A few bytes changed, left out, or put in. */
function mutate(dice: Dice, hello: Buffer): Buffer {
  let bytes = Buffer.from(hello);
  for (let changes = 1 + dice(4); changes > 0; changes--) {
    const at = dice(Math.min(bytes.length, 600));
    const tail = bytes.subarray(at);
    switch (dice(4)) {
      case 0:
        bytes = Buffer.concat([bytes.subarray(0, at), arbitrary(dice, 1 + dice(8)), tail]);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, at), tail.subarray(1 + dice(8))]);
        break;
      default:
        bytes[at] = dice(256);
    }
  }
  return bytes;
}

function arbitrary(dice: Dice, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => dice(256)));
}
