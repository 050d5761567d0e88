/**
 * Two parsers read the same bytes: the C++ framing decides when the hello is whole, TypeScript reads
 * it. Where they disagreed, bytes would be gathered that nobody understands, or the other way round.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_HELLO_BYTES, parseClientHello } from '../../balancer/client-hello.ts';
import { native } from '../../native/index.ts';
import { bytesOf, loadRecordings } from '../hellos/recording.ts';

const recordings = loadRecordings();

function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [...new Set(at.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
  const edges = [0, ...places, bytes.length];
  return edges.slice(1).map((end, i) => bytes.subarray(edges[i], end));
}

for (const recording of recordings) {
  test(`the framing finds the end of ${recording.name} at every split`, () => {
    const bytes = bytesOf(recording);
    const verdict = parseClientHello(bytes);
    assert.equal(verdict.kind, 'hello');
    const expected = { state: 'whole', length: verdict.kind === 'hello' ? verdict.consumed : 0 };
    for (let at = 0; at <= bytes.length; at++) {
      const chunks = [bytes.subarray(0, at), bytes.subarray(at)];
      assert.deepEqual(native.frameHello(chunks), expected, `split at ${at}`);
    }
    const single = Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
    assert.deepEqual(native.frameHello(single), expected);
  });
}

test('what the framing calls whole, the parser never calls incomplete, and the reverse', () => {
  const source = fc.constantFrom(...recordings.map(bytesOf));
  const mutation = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(source, mutation, fc.nat(), fc.array(fc.nat(), { maxLength: 6 }), (...given) => {
      const [original, mutations, length, places] = given;
      const bytes = original.slice(
        0,
        length % 3 === 0 ? length % (original.length + 1) : undefined,
      );
      for (const [at, byte] of mutations) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      const framed = native.frameHello(cut(bytes, places));
      const verdict = parseClientHello(bytes);
      if (framed.state === 'whole') assert.notEqual(verdict.kind, 'incomplete');
      // The parser may know earlier that it will come to nothing; never the other way round.
      if (framed.state !== 'whole') assert.notEqual(verdict.kind, 'hello');
      if (verdict.kind === 'hello') {
        assert.deepEqual(framed, { state: 'whole', length: verdict.consumed });
      }
      assert.deepEqual(native.frameHello([bytes]).state, framed.state);
    }),
    { numRuns: 5_000 },
  );
});

test('arbitrary bytes are judged alike however they are cut', () => {
  const start = fc.constantFrom([], [22], [22, 3], [22, 3, 1, 0, 5, 1, 0, 0, 1]);
  fc.assert(
    fc.property(
      start,
      fc.uint8Array({ maxLength: 600 }),
      fc.array(fc.nat(), { maxLength: 8 }),
      (head, tail, places) => {
        const bytes = Uint8Array.from([...head, ...tail]);
        const whole = native.frameHello([bytes]);
        assert.deepEqual(native.frameHello(cut(bytes, places)).state, whole.state);
      },
    ),
    { numRuns: 5_000 },
  );
});

/** A hello-shaped message of exactly so many raw bytes, in records of 16 KiB at most. */
function helloOf(rawLength: number): Uint8Array {
  const records = Math.ceil(rawLength / (5 + 16_384));
  const message = new Uint8Array(rawLength - 5 * records);
  const body = message.length - 4;
  message.set([1, body >> 16, (body >> 8) & 255, body & 255]);
  const out: number[] = [];
  for (let at = 0; at < message.length; at += 16_384) {
    const part = message.subarray(at, at + 16_384);
    out.push(22, 3, 1, part.length >> 8, part.length & 255, ...part);
  }
  return Uint8Array.from(out);
}

test('a hello of exactly 64 KiB is whole, one byte more is too large', () => {
  const most = helloOf(MAX_HELLO_BYTES);
  assert.equal(most.length, MAX_HELLO_BYTES);
  assert.deepEqual(native.frameHello([most]), { state: 'whole', length: MAX_HELLO_BYTES });
  assert.equal(native.frameHello([helloOf(MAX_HELLO_BYTES + 1)]).state, 'too-large');
});

test('a message that says it will be too large is not waited for', () => {
  const liar = Uint8Array.from([22, 3, 1, 64, 0, 1, 1, 0, 0]);
  assert.equal(native.frameHello([liar]).state, 'too-large');
});
