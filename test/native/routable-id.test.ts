import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import {
  createRoutableIdOpener,
  ROUTABLE_ID_RANDOM_LENGTH,
  sealRoutableId,
} from '../../config/routable-id.ts';
import { native, type RoutableIdKey } from '../../native/index.ts';

interface Vector {
  readonly comment: string;
  readonly epoch: number;
  readonly k1: string;
  readonly k2: string;
  readonly nodeId: number;
  readonly random: string;
  readonly id: string;
}

const { vectors } = JSON.parse(
  readFileSync(new URL('../vectors/routable-id.json', import.meta.url), 'utf8'),
) as { vectors: Vector[] };

for (const { comment, epoch, k1, k2, nodeId, random, id } of vectors) {
  test(`C++ agrees with the vector: ${comment}`, () => {
    const key = { epoch, nodeId, k1: bytes(k1), k2: bytes(k2) };
    assert.equal(hex(native.sealRoutableId(key, bytes(random))), id);
    assert.equal(native.openRoutableId(key, bytes(id)), nodeId);
  });
}

test("C++ and TypeScript seal the same bytes and open each other's, 100,000 times", () => {
  for (let keys = 0; keys < 100; keys++) {
    const key = someKey();
    const opener = createRoutableIdOpener([key]);
    for (let i = 0; i < 1_000; i++) {
      const nodeId = randomInt(2 ** 32);
      const random = bytesOf(ROUTABLE_ID_RANDOM_LENGTH);
      const here = sealRoutableId(key, nodeId, random);
      const there = native.sealRoutableId({ ...key, nodeId }, random);
      assert.equal(hex(there), hex(here));
      // The node id is what opening finds out: the opener's own does not matter.
      assert.equal(native.openRoutableId(key, here), nodeId);
      assert.deepEqual(opener.open(there), { epoch: key.epoch, nodeId });
    }
  }
});

test('an ID altered in any one bit verifies in neither language', () => {
  const key = someKey();
  const opener = createRoutableIdOpener([key]);
  const id = native.sealRoutableId(key, bytesOf(ROUTABLE_ID_RANDOM_LENGTH));
  for (let bit = 0; bit < id.length * 8; bit++) {
    const altered = id.slice();
    altered[bit >> 3] = (altered[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.equal(native.openRoutableId(key, altered), null, `bit ${bit}`);
    assert.equal(opener.open(altered), null, `bit ${bit}`);
  }
});

test('foreign IDs, other keys and other lengths are null', () => {
  const key = someKey();
  for (let i = 0; i < 10_000; i++) {
    const foreign = bytesOf(32);
    foreign[0] = 0x10 | key.epoch;
    assert.equal(native.openRoutableId(key, foreign), null);
  }
  const id = native.sealRoutableId(key, bytesOf(ROUTABLE_ID_RANDOM_LENGTH));
  assert.equal(native.openRoutableId({ ...key, k1: bytesOf(32) }, id), null);
  assert.equal(native.openRoutableId({ ...key, k2: bytesOf(32) }, id), null);
  assert.equal(native.openRoutableId({ ...key, epoch: key.epoch ^ 1 }, id), null);
  for (const length of [0, 1, 31, 33, 4_096]) {
    assert.equal(native.openRoutableId(key, new Uint8Array(length)), null);
  }
});

test('a key of the wrong shape is a TypeError, not a crash', () => {
  const key = someKey();
  const random = bytesOf(ROUTABLE_ID_RANDOM_LENGTH);
  const wrong: unknown[] = [
    null,
    undefined,
    {},
    { ...key, epoch: 16 },
    { ...key, epoch: -1 },
    { ...key, nodeId: 2 ** 32 },
    { ...key, nodeId: 0.5 },
    { ...key, k1: bytesOf(31) },
    { ...key, k2: 'k2' },
  ];
  for (const shape of wrong) {
    assert.throws(() => native.sealRoutableId(shape as RoutableIdKey, random), TypeError);
    assert.throws(() => native.openRoutableId(shape as RoutableIdKey, random), TypeError);
  }
  assert.throws(() => native.sealRoutableId(key, bytesOf(20)), TypeError);
});

function someKey(): RoutableIdKey {
  return { epoch: randomInt(16), nodeId: randomInt(2 ** 32), k1: bytesOf(32), k2: bytesOf(32) };
}

function bytesOf(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length));
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function hex(data: Uint8Array): string {
  return Buffer.from(data).toString('hex');
}
