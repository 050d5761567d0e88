import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { hashBytes, hashSource, hashText, score } from '../../balancer/rendezvous.ts';

const KEYS = 20_000;
const names = Array.from({ length: 7 }, (_, i) => `10.0.0.${i + 1}:443`);

/** Index of the winner among `candidates` for a key. */
function winner(key: number, candidates: readonly string[], weights?: readonly number[]): number {
  let best = 0;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (const [i, name] of candidates.entries()) {
    const value = score(key, hashText(name), weights?.[i] ?? 1);
    if (value > bestScore) [best, bestScore] = [i, value];
  }
  return best;
}

/** Sequential addresses and IDs that differ in a few bits: the worst that real keys look like. */
const sources = Array.from({ length: KEYS }, (_, i) => hashSource(`10.1.${i >> 8}.${i & 255}`));
const ids = Array.from({ length: KEYS }, (_, i) => {
  const id = new Uint8Array(32);
  new DataView(id.buffer).setUint32(12, i);
  return hashBytes(id);
});

function shares(keys: readonly number[], weights?: readonly number[]): number[] {
  const counts = new Array<number>(names.length).fill(0);
  for (const key of keys) {
    const at = winner(key, names, weights);
    counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts.map((count) => count / keys.length);
}

for (const [what, keys] of [
  ['source addresses', sources],
  ['IDs', ids],
] as const) {
  test(`${what} spread evenly`, () => {
    // 20,000 keys over 7: the standard deviation of a share is 0.0025.
    for (const share of shares(keys)) assert.ok(Math.abs(share - 1 / 7) < 0.0125, `${share}`);
  });

  test(`${what} spread by weight`, () => {
    const weights = [1, 1, 1, 1, 1, 1, 4];
    for (const [i, share] of shares(keys, weights).entries()) {
      assert.ok(Math.abs(share - (weights[i] as number) / 10) < 0.0125, `${i}: ${share}`);
    }
  });
}

test('when a terminator goes, only its keys move, and they spread over all others', () => {
  const left = names.slice(1);
  const heirs = new Array<number>(left.length).fill(0);
  let moved = 0;
  for (const key of ids) {
    const before = winner(key, names);
    const after = winner(key, left);
    if (before !== 0) assert.equal(after, before - 1);
    else {
      moved++;
      heirs[after] = (heirs[after] ?? 0) + 1;
    }
  }
  for (const count of heirs) assert.ok(Math.abs(count / moved - 1 / 6) < 0.035, `${count / moved}`);
});

test('the order of the list does not matter', () => {
  const reversed = names.toReversed();
  for (const key of sources.slice(0, 500)) {
    assert.equal(names[winner(key, names)], reversed[winner(key, reversed)]);
  }
});

test('an IPv4 client is the same client on an IPv6 socket', () => {
  assert.equal(hashSource('::ffff:192.0.2.1'), hashSource('192.0.2.1'));
  assert.notEqual(hashSource('192.0.2.1'), hashSource('192.0.2.2'));
});

test('text and its bytes hash alike', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary-ascii' }), (text) => {
      assert.equal(hashText(text), hashBytes(Buffer.from(text)));
    }),
  );
});

test('a score is positive and finite for every key, seed and weight', () => {
  const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(
      u32,
      u32,
      fc.double({ min: 0.001, max: 1_000, noNaN: true }),
      (key, seed, weight) => {
        const value = score(key, seed, weight);
        assert.ok(value > 0 && Number.isFinite(value));
      },
    ),
  );
});

test('the hash is the same on every balancer: fixed values', () => {
  assert.equal(hashText(''), 2872998923);
  assert.equal(hashText('10.0.0.1:443'), 2182155171);
  assert.equal(score(1, 2, 1).toFixed(12), '1.543725291558');
});
