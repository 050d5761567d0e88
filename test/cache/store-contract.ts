import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  type ClockS,
  MAX_SESSION_DER_BYTES,
  type MissReason,
  type SessionStore,
} from '../../cache/store.ts';
import type { SessionRecord } from '../../native/index.ts';

export interface StoreUnderTest {
  readonly name: string;
  /** False: this store keeps nothing, so promises about what is kept do not apply. */
  readonly keeps: boolean;
  open(slots: number, clockS: ClockS): SessionStore;
}

const NOW_S = 1_800_000_000;

export const policyA: Uint8Array = new Uint8Array(32).fill(0xa0);
export const policyB: Uint8Array = new Uint8Array(32).fill(0xb0);

/** A record whose bytes are all different from any other's. */
export function someRecord(derBytes: number, changes: Partial<SessionRecord> = {}): SessionRecord {
  return {
    der: new Uint8Array(randomBytes(derBytes)),
    expiresAtS: NOW_S + 3_600,
    fullHandshakeAtS: NOW_S,
    uses: 0,
    originNode: 7,
    ...changes,
  };
}

export function someId(): Uint8Array {
  return new Uint8Array(randomBytes(32));
}

/** What every store promises; see the prose of `cache/store.ts`. */
export function storeContract({ name, keeps, open }: StoreUnderTest): void {
  let nowS = NOW_S;
  const fresh = (slots = 1_000): SessionStore => {
    nowS = NOW_S;
    return open(slots, () => nowS);
  };
  const promise = (text: string, body: () => void): void => {
    test(`${name}: ${text}`, { skip: keeps ? false : 'this store keeps nothing' }, body);
  };
  const missed = (store: SessionStore, id: Uint8Array, policy = policyA): MissReason => {
    const lookup = store.get(id, policy);
    assert.ok(!lookup.found);
    return lookup.reason;
  };

  promise('a session is found as it was put, whatever its size', () => {
    const store = fresh();
    for (const derBytes of [1, 100, 231, 232, 233, 568, 569, 4_000, MAX_SESSION_DER_BYTES]) {
      const id = someId();
      const record = someRecord(derBytes, { uses: 2 ** 32 - 1, originNode: 2 ** 32 - 1 });
      assert.ok(store.put(id, policyA, record, null));
      assert.deepEqual(store.get(id, policyA), { found: true, record });
    }
  });

  promise('the last put under an ID counts', () => {
    const store = fresh();
    const id = someId();
    for (const derBytes of [200, 5_000, 150]) {
      const record = someRecord(derBytes);
      assert.ok(store.put(id, policyA, record, null));
      assert.deepEqual(store.get(id, policyA), { found: true, record });
    }
    assert.ok(store.delete(id));
    assert.equal(missed(store, id), 'not-found');
  });

  promise('a session exactly at its deadline is over', () => {
    const store = fresh();
    const id = someId();
    store.put(id, policyA, someRecord(100, { expiresAtS: NOW_S + 10 }), null);
    nowS += 9;
    assert.ok(store.get(id, policyA).found);
    nowS += 1;
    assert.equal(missed(store, id), 'expired');
    assert.equal(store.stats().expired, 1);
    assert.equal(store.put(id, policyA, someRecord(100, { expiresAtS: nowS }), null), false);
    assert.equal(missed(store, id), 'not-found');
  });

  promise('a session is found under its own policy only, and stays there for it', () => {
    const store = fresh();
    const id = someId();
    store.put(id, policyA, someRecord(100), null);
    assert.equal(missed(store, id, policyB), 'policy-mismatch');
    assert.equal(store.stats().mismatched, 1);
    assert.ok(store.get(id, policyA).found);
  });

  promise('a replaced session stays findable until room is needed, then goes first', () => {
    const store = fresh(1_000);
    const parent = someId();
    const child = someId();
    store.put(parent, policyA, someRecord(100), null);
    assert.ok(store.get(parent, policyA).found);
    store.put(child, policyA, someRecord(100), parent);
    assert.ok(store.get(parent, policyA).found);
    assert.ok(store.get(child, policyA).found);
    // Not more than there is room for in all, so only a store that must drop something drops.
    for (let i = 0; i < 20_000 && store.get(parent, policyA).found; i++) {
      assert.ok(store.get(child, policyA).found, 'the child went before its parent');
      store.put(someId(), policyA, someRecord(100), null);
    }
    assert.equal(missed(store, parent), 'not-found');
    assert.ok(store.get(child, policyA).found);
  });

  promise("replacing what is not there, oneself, or a stranger's session harms nothing", () => {
    const store = fresh();
    const id = someId();
    const strangers = someId();
    assert.ok(store.put(strangers, policyB, someRecord(100), null));
    assert.ok(store.put(id, policyA, someRecord(100), someId()));
    assert.ok(store.put(id, policyA, someRecord(100), id));
    assert.ok(store.put(id, policyA, someRecord(100), strangers));
    assert.ok(store.get(id, policyA).found);
    assert.ok(store.get(strangers, policyB).found);
  });

  promise('too large a session is refused and counted, and what it would replace is gone', () => {
    const store = fresh();
    const id = someId();
    store.put(id, policyA, someRecord(100), null);
    assert.equal(store.put(id, policyA, someRecord(MAX_SESSION_DER_BYTES + 1), null), false);
    assert.equal(store.stats().tooLarge, 1);
    assert.equal(missed(store, id), 'not-found');
    assert.equal(store.put(id, policyA, someRecord(0), null), false);
  });

  promise("buffers stay their owner's", () => {
    const store = fresh();
    const id = someId();
    const record = someRecord(300);
    const kept = { ...record, der: record.der.slice() };
    const key = id.slice();
    const policy = policyA.slice();
    store.put(key, policy, record, null);
    for (const buffer of [key, policy, record.der]) buffer.fill(0);
    const first = store.get(id, policyA);
    assert.deepEqual(first, { found: true, record: kept });
    if (first.found) first.record.der.fill(0);
    assert.deepEqual(store.get(id, policyA), { found: true, record: kept });
  });

  test(`${name}: an ID of any length is a miss, not an error`, () => {
    const store = fresh();
    for (const length of [0, 1, 31, 33, 65_535]) {
      assert.equal(store.get(new Uint8Array(length), policyA).found, false);
      assert.equal(store.delete(new Uint8Array(length)), false);
    }
    assert.ok(store.stats().misses >= 0);
  });

  test(`${name}: what is found is what was put last (model)`, () => {
    const slot = fc.nat({ max: 40 });
    const operation = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant('put' as const),
          slot,
          size: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 9_000 })),
          lifeS: fc.nat({ max: 40 }),
          policy: fc.boolean(),
          replaces: fc.option(slot),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant('get' as const), slot, policy: fc.boolean() }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), slot }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.nat({ max: 20 }) }),
      },
    );
    const ids = Array.from({ length: 41 }, someId);
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 120 }),
        fc.constantFrom(1, 5_000),
        (operations, slots) => {
          const store = fresh(slots);
          const model = new Map<number, { policy: boolean; record: SessionRecord }>();
          for (const op of operations) {
            if (op.kind === 'wait') {
              nowS += op.seconds;
            } else if (op.kind === 'delete') {
              const there = store.delete(ids[op.slot] as Uint8Array);
              assert.ok(!there || model.has(op.slot));
              model.delete(op.slot);
            } else if (op.kind === 'put') {
              const record = someRecord(op.size, { expiresAtS: nowS + op.lifeS });
              const replaces = op.replaces === null ? null : (ids[op.replaces] as Uint8Array);
              const policy = op.policy ? policyA : policyB;
              const stored = store.put(ids[op.slot] as Uint8Array, policy, record, replaces);
              assert.equal(stored, keeps && op.size <= MAX_SESSION_DER_BYTES && op.lifeS > 0);
              if (stored) model.set(op.slot, { policy: op.policy, record });
              else model.delete(op.slot);
            } else {
              const expected = model.get(op.slot);
              const lookup = store.get(ids[op.slot] as Uint8Array, op.policy ? policyA : policyB);
              if (lookup.found) {
                assert.ok(expected !== undefined, 'found what was never put, or deleted');
                assert.deepEqual(lookup.record, expected.record);
                assert.equal(op.policy, expected.policy);
                assert.ok(nowS < expected.record.expiresAtS);
              } else if (lookup.reason === 'expired') {
                assert.ok(expected !== undefined && nowS >= expected.record.expiresAtS);
                model.delete(op.slot);
              } else if (lookup.reason === 'policy-mismatch') {
                assert.ok(expected !== undefined && op.policy !== expected.policy);
              } else {
                assert.equal(lookup.reason, keeps ? 'not-found' : 'off');
                if (slots === 5_000)
                  assert.equal(expected, undefined, 'lost although there was room');
              }
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });
}
