/** Hellos that no terminator would answer must not look like terminators that do not answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frame } from '../balancer/build-hello.ts';
import { bytesOf, loadRecordings } from '../hellos/recording.ts';
import { random } from '../native/random.ts';
import { atRest, count, rise } from './at-rest.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { failed, startLoad } from './load.ts';
import { startOrigin } from './origin.ts';
import { isServerHello, RawClient, recordedHello } from './raw-client.ts';
import { helloBytes } from './tls13-client.ts';

const HEADER = 5;
const hello = recordedHello('node24-tls13');

test('a hello whose record goes on after it is refused; no terminator is blamed for its silence', async (t) => {
  const terminators = await Promise.all(
    ['one', 'two'].map(async (name) => {
      const origin = await startOrigin(t, { kind: 'page', name });
      return startTerminator(t, origin.address, ['--workers', '1']);
    }),
  );
  const balancer = await startBalancer(
    t,
    terminators.map(({ address }) => address),
    // Longer than a busy machine can keep a terminator from answering.
    ['--first-byte-timeout', '5s', '--hello-timeout', '2s'],
  );
  const before = await balancer.stats();
  const load = await startLoad(t, balancer, { clients: 6, restMs: 20 });
  t.diagnostic(`seed ${load.seed}`);
  await load.more(20);

  // RFC 8446 section 5.1: a handshake message before a change of keys must end with its record.
  const refused = [
    ...[1, 100, 10_000].map((more) => longer(hello, more)),
    ...[1, 4, 100].map((more) => Buffer.concat([longer(hello, more), Buffer.alloc(more)])),
    // Another hello follows in the same record; the second of two records is the one that goes on.
    Buffer.concat([longer(hello, hello.length - HEADER), hello.subarray(HEADER)]),
    Buffer.from(frame(Buffer.concat([hello.subarray(HEADER), Buffer.alloc(7)]), [200])),
  ];
  const ROUNDS = 8;
  for (let round = 0; round < ROUNDS; round++) {
    const from = load.visits.length;
    for (const bytes of refused) {
      const client = await RawClient.open(balancer.port);
      client.write(bytes);
      assert.equal((await client.ended()).bytes.length, 0);
    }
    // Good clients come and go all the while.
    await load.more(Math.max(0, 5 - (load.visits.length - from)));
  }
  // Not whole, whatever comes: the balancer itself waits for the rest, and not for ever.
  const unfinished = longer(hello, 100);
  unfinished.writeUIntBE(unfinished.readUIntBE(HEADER + 1, 3) + 100, HEADER + 1, 3);
  const waiting = await RawClient.open(balancer.port);
  waiting.write(unfinished);
  assert.equal((await waiting.ended()).bytes.length, 0);

  assert.deepEqual(failed(await load.stop()), []);
  const after = await atRest(balancer);
  assert.equal(rise(before, after, 'helloNotTls'), ROUNDS * refused.length);
  assert.equal(rise(before, after, 'helloTimeout'), 1);
  for (const name of ['helloWhole', 'connects', 'answered', 'closedClean']) {
    assert.equal(rise(before, after, name), load.visits.length, name);
  }
  for (const name of ['firstByteTimeout', 'closedBeforeFirstByte', 'connectRefused', 'retried']) {
    assert.equal(count(after, name), 0, name);
  }
  assert.deepEqual(
    balancer.log.filter(({ msg }) => /terminator (silent|refused)/.test(msg)),
    [],
  );
  const rested = await Promise.all(terminators.map(atRest));
  const accepted = rested.reduce((sum, stats) => sum + count(stats, 'accepted'), 0);
  assert.equal(accepted, load.visits.length, 'nobody but good clients has come through');
});

test('a terminator is silent about a mutilated hello only while some of it is still to come', async (t) => {
  const HELLOS = 1_500;
  const AT_ONCE = 150;
  const SILENT_MS = 1_000;
  const origin = await startOrigin(t, { kind: 'silent' });
  const terminator = await startTerminator(t, origin.address, [
    ...['--workers', '1', '--handshake-timeout', `${SILENT_MS}ms`],
  ]);
  const { seed, next } = random();
  t.diagnostic(`TLSFARM_SEED=${seed}`);
  const dice: Dice = (below) => Math.floor(next() * below);
  const originals = [...loadRecordings().map((it) => Buffer.from(bytesOf(it))), helloBytes()];
  const seen = { answered: 0, closed: 0, 'silent, incomplete': 0 };

  const one = async (): Promise<void> => {
    const bytes = mutilate(dice, originals[dice(originals.length)] ?? hello);
    const client = await RawClient.open(terminator.port);
    client.write(bytes);
    const answer = await client.answer();
    if (answer.length > 0) {
      seen.answered++;
      assert.ok(isServerHello(answer) || answer[0] === 21, answer.toString('hex', 0, 12));
      client.reset();
      await client.ended();
      return;
    }
    const { ms } = await client.ended();
    if (ms < SILENT_MS - 50) {
      seen.closed++;
      return;
    }
    seen['silent, incomplete']++;
    assert.ok(isIncomplete(bytes), `silence for ${bytes.toString('hex')}`);
  };
  let left = HELLOS;
  const loop = async (): Promise<void> => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, loop));
  t.diagnostic(JSON.stringify(seen));
  assert.ok(seen.answered > HELLOS / 2 && seen['silent, incomplete'] > 0);
  await atRest(terminator);
});

/** The first record's header promises more than there is. */
function longer(bytes: Buffer, by: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16BE(copy.readUInt16BE(3) + by, 3);
  return copy;
}

/** Records follow each other to the end; the last one, or the handshake message in them, is not whole. */
function isIncomplete(bytes: Buffer): boolean {
  // An SSL 2 hello (RFC 5246 appendix E.2): OpenSSL reads it to its end before it refuses it.
  const short = bytes.readUInt16BE(0);
  if (short >= 0x8000 && bytes[2] === 1) return 2 + (short & 0x7fff) > bytes.length;
  const fragments: Buffer[] = [];
  let at = 0;
  while (bytes.length - at >= HEADER) {
    const end = at + HEADER + bytes.readUInt16BE(at + 3);
    if (end > bytes.length) return true;
    fragments.push(bytes.subarray(at + HEADER, end));
    at = end;
  }
  const message = Buffer.concat(fragments);
  return at < bytes.length || message.length < 4 || message.length < 4 + message.readUIntBE(1, 3);
}

type Dice = (below: number) => number;

function mutilate(dice: Dice, original: Buffer): Buffer {
  const bytes = Buffer.from(original);
  switch (dice(6)) {
    case 0: // some bytes of the message
      for (let changes = 1 + dice(3); changes > 0; changes--) {
        bytes[9 + dice(bytes.length - 9)] = dice(256);
      }
      return bytes;
    case 1: // one of the headers, the random, the session ID
      bytes[dice(60)] = dice(256);
      return bytes;
    case 2: // the record's minor version
      bytes[2] = dice(256);
      return bytes;
    case 3: // the hello's version
      bytes[9] = dice(5);
      bytes[10] = dice(256);
      return bytes;
    case 4: {
      // the same message in other records
      const message = bytes.subarray(HEADER);
      const lengths = Array.from({ length: 1 + dice(3) }, () => 1 + dice(message.length));
      return Buffer.from(frame(message, lengths));
    }
    default: {
      // cut short, and both lengths say so
      const length = dice(bytes.length - 9);
      bytes.writeUInt16BE(4 + length, 3);
      bytes.writeUIntBE(length, 6, 3);
      return bytes.subarray(0, 9 + length);
    }
  }
}
