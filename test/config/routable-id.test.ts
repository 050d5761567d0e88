import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import fc from 'fast-check';

import { canonicalName } from '../../config/address.ts';
import { nodeId } from '../../config/node-id.ts';
import { createRoutableIdOpener, sealRoutableId } from '../../config/routable-id.ts';
import { deriveRoutingKeys, HKDF_INFO, HKDF_SALT } from '../../config/routing-key.ts';
import { makeVectors, type RoutableIdVectors } from '../vectors/make-routable-id.ts';

const file = new URL('../vectors/routable-id.json', import.meta.url);
const kept = JSON.parse(readFileSync(file, 'utf8')) as RoutableIdVectors;
const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');

test('the vectors in the tree are what this code makes', () => {
  assert.deepEqual(makeVectors(), kept);
  assert.equal(kept.salt, HKDF_SALT);
  assert.deepEqual(kept.info, HKDF_INFO);
});

for (const vector of kept.vectors) {
  test(`vector: ${vector.comment}`, () => {
    const keys = deriveRoutingKeys({ epoch: vector.epoch, secret: bytes(vector.secret) });
    assert.equal(hex(keys.k1), vector.k1);
    assert.equal(hex(keys.k2), vector.k2);
    assert.equal(hex(keys.nodeIdKey), vector.nodeIdKey);
    assert.equal(canonicalName(vector.name), vector.canonicalName);
    assert.equal(nodeId(keys.nodeIdKey, vector.canonicalName), vector.nodeId);
    assert.equal(hex(sealRoutableId(keys, vector.nodeId, bytes(vector.random))), vector.id);
    assert.deepEqual(createRoutableIdOpener([keys]).open(bytes(vector.id)), {
      epoch: vector.epoch,
      nodeId: vector.nodeId,
    });
  });
}

test('no forgery opens', () => {
  const [first] = kept.vectors;
  assert.ok(first !== undefined);
  const opener = createRoutableIdOpener([
    deriveRoutingKeys({ epoch: 0, secret: bytes(first.secret) }),
  ]);
  for (const { comment, id } of kept.forgeries) assert.equal(opener.open(bytes(id)), null, comment);
});

const byteArray = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const anyKeys = fc.record({
  epoch: fc.integer({ min: 0, max: 15 }),
  k1: byteArray(32),
  k2: byteArray(32),
});
const anyNodeId = fc.integer({ min: 0, max: 0xffff_ffff });

test('what is sealed opens, and says who sealed it', () => {
  fc.assert(
    fc.property(anyKeys, anyNodeId, byteArray(21), (keys, id, random) => {
      const opener = createRoutableIdOpener([keys]);
      const sealed = sealRoutableId(keys, id, random);
      assert.equal(sealed.length, 32);
      // Twice: the cipher contexts are kept between calls.
      for (let i = 0; i < 2; i++) {
        assert.deepEqual(opener.open(sealed), { epoch: keys.epoch, nodeId: id });
      }
    }),
  );
});

test('an ID with any one bit changed does not open', () => {
  fc.assert(
    fc.property(
      anyKeys,
      anyNodeId,
      byteArray(21),
      fc.integer({ min: 0, max: 255 }),
      (keys, id, random, bit) => {
        const sealed = sealRoutableId(keys, id, random);
        sealed[bit >> 3] = (sealed[bit >> 3] as number) ^ (1 << (bit & 7));
        assert.equal(createRoutableIdOpener([keys]).open(sealed), null);
      },
    ),
  );
});

test('any bytes of any length are answered, not thrown at', () => {
  const opener = createRoutableIdOpener(
    kept.vectors.map((v) => deriveRoutingKeys({ epoch: v.epoch, secret: bytes(v.secret) })),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 48 }), (id) => assert.equal(opener.open(id), null)),
  );
});

test('an opener of several epochs takes each ID by its own', () => {
  const keys = [3, 4, 15].map((epoch) =>
    deriveRoutingKeys({ epoch, secret: new Uint8Array(32).fill(epoch) }),
  );
  const opener = createRoutableIdOpener(keys);
  for (const key of keys) {
    const id = sealRoutableId(key, 0xdead_beef, new Uint8Array(21).fill(7));
    assert.deepEqual(opener.open(id), { epoch: key.epoch, nodeId: 0xdead_beef });
    assert.equal(createRoutableIdOpener(keys.filter((k) => k !== key)).open(id), null);
  }
});

test('an ID inside a larger buffer opens like a copy of it', () => {
  const keys = deriveRoutingKeys({ epoch: 1, secret: new Uint8Array(32).fill(1) });
  const around = new Uint8Array(100).fill(0xee);
  around.set(sealRoutableId(keys, 5, new Uint8Array(21)), 40);
  const opened = createRoutableIdOpener([keys]).open(around.subarray(40, 72));
  assert.deepEqual(opened, { epoch: 1, nodeId: 5 });
});
