import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { test } from 'node:test';

import { type NativeSessionTable, native } from '../../native/index.ts';
import { policyA, policyB, someId, someRecord } from '../cache/store-contract.ts';
import { random } from './random.ts';

const nowS = 1_800_000_000;

// One slot of the layout in session_table.cc: an entry's fields, then its DER.
const entryBytes = 104;

function withTable(slots: number, body: (table: NativeSessionTable, fd: number) => void): void {
  const fd = native.createSessionTable(slots);
  try {
    body(native.openSessionTable(fd), fd);
  } finally {
    closeSync(fd);
  }
}

test('a table for a million typical sessions takes at most 400 MB, and nothing while empty', () => {
  withTable(1_000_000, (table, fd) => {
    const { size, blocks } = fstatSync(fd);
    assert.ok(size <= 400_000_000, `${size} bytes`);
    assert.ok(blocks * 512 < 2_000_000, `${blocks * 512} bytes resident`);
    assert.ok(table.stats().slots >= 1_000_000);
  });
});

test('a table filled to the number it was made for has lost less than 1 % of its sessions', () => {
  withTable(20_000, (table) => {
    const ids = Array.from({ length: 20_000 }, someId);
    ids.forEach((id, i) => table.put(id, policyA, someRecord(100 + (i % 133)), nowS, null));
    const kept = ids.filter((id) => table.get(id, policyA, nowS) !== null).length;
    assert.ok(kept >= 19_800, `kept ${kept}`);
    const { used, evicted } = table.stats();
    assert.equal(used, kept, 'a typical session takes one slot');
    assert.equal(evicted, 20_000 - kept);
  });
});

test('sizes: a session takes as many slots as its DER needs, and gives them all back', () => {
  withTable(100, (table) => {
    const sizes = [1, 232, 233, 568, 569, 8_192];
    const slots = [1, 1, 2, 2, 3, 25];
    for (const [i, size] of sizes.entries()) {
      const id = someId();
      assert.ok(table.put(id, policyA, someRecord(size), nowS, null));
      assert.equal(table.stats().used, slots[i]);
      assert.ok(table.delete(id));
      assert.equal(table.stats().used, 0);
    }
  });
});

test('deleted and evicted sessions leave no byte of their secrets behind', () => {
  withTable(100, (table, fd) => {
    const file = `/proc/self/fd/${fd}`;
    const secret = someRecord(3_000);
    const id = someId();
    table.put(id, policyA, secret, nowS, null);
    // 64 bytes from the first slot, 64 from the last tail.
    const parts = [secret.der.subarray(0, 64), secret.der.subarray(-64)].map((part) =>
      Buffer.from(part),
    );
    for (const part of parts) assert.ok(readFileSync(file).includes(part));
    table.delete(id);
    for (const part of parts) assert.ok(!readFileSync(file).includes(part), 'deleted');

    table.put(id, policyA, secret, nowS, null);
    for (let i = 0; i < 400; i++) table.put(someId(), policyA, someRecord(200), nowS, null);
    assert.equal(table.get(id, policyA, nowS), null);
    for (const part of parts) assert.ok(!readFileSync(file).includes(part), 'evicted');
  });
});

test('a torn entry is dropped and counted, never returned, wherever the damage is', () => {
  for (const size of [200, 3_000]) {
    withTable(100, (table, fd) => {
      const file = openSync(`/proc/self/fd/${fd}`, 'r+');
      let torn = 0;
      for (let at = -entryBytes; at < 232 && at < size; at++) {
        const id = someId();
        const record = someRecord(size);
        table.put(id, policyA, record, nowS, null);
        const der = readFileSync(`/proc/self/fd/${fd}`).indexOf(record.der.subarray(0, 200));
        const byte = new Uint8Array(1);
        readSync(file, byte, 0, 1, der + at);
        byte[0] = (byte[0] as number) ^ (1 << (at & 7));
        writeSync(file, byte, 0, 1, der + at);
        assert.equal(table.get(id, policyA, nowS), null, `byte ${at}`);
        // Damage to the ID itself hides the session: not found, and gone when room is needed.
        if (table.stats().torn > torn) torn++;
        else assert.ok(at >= 8 - entryBytes && at < 40 - entryBytes, `byte ${at} was not counted`);
      }
      assert.ok(torn >= 232);
      closeSync(file);
    });
  }
});

test('a session too large or over already is refused; the first is counted', () => {
  withTable(100, (table) => {
    assert.equal(table.put(someId(), policyA, someRecord(8_193), nowS, null), false);
    assert.equal(table.put(someId(), policyA, someRecord(65_536), nowS, null), false);
    const over = someRecord(100, { expiresAtS: nowS });
    assert.equal(table.put(someId(), policyA, over, nowS, null), false);
    const { tooLarge, inserted, used } = table.stats();
    assert.deepEqual({ tooLarge, inserted, used }, { tooLarge: 2, inserted: 0, used: 0 });
  });
});

test('eviction takes the expired, then the superseded, then those on probation', () => {
  // Tables of one bucket: 128 slots.
  withTable(1, (table) => {
    const put = (changes = {}, replaces: Uint8Array | null = null): Uint8Array => {
      const id = someId();
      assert.ok(table.put(id, policyA, someRecord(100, changes), nowS, replaces));
      return id;
    };
    // `lookup` is a use, so who is still there is asked at the end.
    const proved = put();
    assert.ok(table.get(proved, policyA, nowS));
    const young = put();
    const parent = put();
    const child = put({}, parent);
    const expiring = put({ expiresAtS: nowS + 5 });
    for (let i = 0; i < 123; i++) put();
    assert.equal(table.stats().used, 128);

    const laterS = nowS + 5;
    const add = (): boolean => table.put(someId(), policyA, someRecord(100), laterS, null);
    add();
    assert.equal(table.stats().evicted, 0, 'the expired one');
    add();
    assert.equal(table.stats().evicted, 0, 'the superseded one');
    add();
    assert.equal(table.stats().evicted, 1, 'the oldest on probation');
    const there = (id: Uint8Array): boolean => table.get(id, policyA, laterS) !== null;
    assert.deepEqual([expiring, parent, young, child, proved].map(there), [
      false,
      false,
      false,
      true,
      true,
    ]);
  });
});

test("a renewal inherits its parent's place, once", () => {
  withTable(1, (table) => {
    const parent = someId();
    const [first, second] = [someId(), someId()];
    table.put(parent, policyA, someRecord(100), nowS, null);
    assert.equal(table.stats().protected, 0);
    table.get(parent, policyA, nowS);
    assert.equal(table.stats().protected, 1);
    table.put(first, policyA, someRecord(100), nowS, parent);
    assert.equal(table.stats().protected, 1, 'the place moved');
    table.put(second, policyA, someRecord(100), nowS, parent);
    assert.equal(table.stats().protected, 1, 'a second renewal proves itself');
    for (let i = 0; i < 1_000; i++) table.put(someId(), policyA, someRecord(100), nowS, null);
    assert.ok(table.get(first, policyA, nowS));
    assert.equal(table.get(second, policyA, nowS), null);
  });
});

test('the protected never fill more than three quarters of a bucket', () => {
  withTable(1, (table) => {
    for (let i = 0; i < 500; i++) {
      const id = someId();
      table.put(id, policyA, someRecord(i % 7 === 0 ? 900 : 100), nowS, null);
      assert.ok(table.get(id, policyA, nowS));
      assert.ok(table.stats().protected <= 96);
      assert.ok(table.stats().used <= 128);
    }
  });
});

test('a flood of full handshakes takes no session that was ever used', () => {
  withTable(2_000, (table) => {
    const used = Array.from({ length: 500 }, someId);
    for (const id of used) {
      table.put(id, policyA, someRecord(180), nowS, null);
      assert.ok(table.get(id, policyA, nowS));
    }
    for (let i = 0; i < 50_000; i++) table.put(someId(), policyB, someRecord(180), nowS, null);
    for (const id of used) assert.ok(table.get(id, policyA, nowS));
  });
});

test('95 % resumed TLS 1.3 for ten times the capacity: a session idle half its life resumes', () => {
  const slots = 4_000;
  const { next, seed } = random();
  withTable(slots, (table) => {
    const lifeS = 1_000;
    const start = (id: Uint8Array, atS: number, replaces: Uint8Array | null): boolean =>
      table.put(id, policyA, someRecord(190, { expiresAtS: nowS + lifeS }), atS, replaces);
    const idle = Array.from({ length: 100 }, someId);
    for (const id of idle) start(id, nowS, null);
    // Half of them have been used once, the others never.
    for (const id of idle.slice(0, 50)) assert.ok(table.get(id, policyA, nowS));

    const live = Array.from({ length: 1_000 }, someId);
    for (const id of live) start(id, nowS, null);
    let resumed = 0;
    let refused = 0;
    for (let i = 0; i < 10 * slots; i++) {
      const atS = nowS + Math.floor((i / (10 * slots)) * (lifeS / 2));
      const id = someId();
      if (next() < 0.05) {
        start(id, atS, null);
        continue;
      }
      const client = Math.floor(next() * live.length);
      const parent = live[client] as Uint8Array;
      if (table.get(parent, policyA, atS) === null) refused++;
      else resumed++;
      start(id, atS, parent);
      live[client] = id;
    }
    assert.equal(refused, 0, `seed ${seed}: of ${resumed + refused}`);
    for (const id of idle) assert.ok(table.get(id, policyA, nowS + lifeS / 2), `seed ${seed}`);
  });
});

test('what is not a table of this version is refused with its reason', () => {
  const refused = (fd: number, message: RegExp): void => {
    assert.throws(() => native.openSessionTable(fd), { code: 'SESSION_TABLE_UNUSABLE', message });
  };
  const ordinary = openSync(import.meta.filename, 'r');
  refused(ordinary, /not a sealed memfd/);
  closeSync(ordinary);
  refused(1_000_000, /Bad file descriptor/);

  withTable(1, (_, fd) => {
    const file = openSync(`/proc/self/fd/${fd}`, 'r+');
    const change = (at: number): void => {
      const byte = new Uint8Array(1);
      readSync(file, byte, 0, 1, at);
      byte[0] = (byte[0] as number) ^ 0xff;
      writeSync(file, byte, 0, 1, at);
    };
    for (const [at, message] of [
      [0, /not a session table/],
      [8, /another layout version/],
      [16, /another build/],
      [12, /damaged/],
      [40, /damaged/],
    ] as const) {
      change(at);
      refused(fd, message);
      change(at);
    }
    native.openSessionTable(fd);
    closeSync(file);
  });
});

test('its size is sealed: nobody can make a mapping of it fail', () => {
  withTable(1, (_, fd) => {
    const grown = Buffer.from('x');
    assert.throws(() => writeSync(fd, grown, 0, 1, fstatSync(fd).size), { code: 'EPERM' });
  });
});

test('arguments of the wrong shape are a TypeError, not a crash', () => {
  withTable(1, (table) => {
    const id = someId();
    const record = someRecord(100);
    const call = table as unknown as Record<string, (...args: unknown[]) => unknown>;
    const wrong: [string, unknown[]][] = [
      ['put', []],
      ['put', [id.subarray(1), policyA, record, nowS, null]],
      ['put', [id, policyA, null, nowS, null]],
      ['put', [id, policyA, { ...record, der: 'der' }, nowS, null]],
      ['put', [id, policyA, { ...record, uses: -1 }, nowS, null]],
      ['put', [id, policyA, { ...record, expiresAtS: Number.NaN }, nowS, null]],
      ['put', [id, policyA, record, 0.5, null]],
      ['put', [id, policyA, record, nowS, id.subarray(1)]],
      ['get', [id, policyA.subarray(1), nowS]],
      ['get', [new Uint16Array(16), policyA, nowS]],
      ['lookup', [id, policyA]],
      ['delete', [null]],
    ];
    for (const [method, args] of wrong) {
      assert.throws(() => call[method]?.(...args), TypeError, `${method} ${args.length}`);
    }
    assert.throws(() => native.createSessionTable(-1), TypeError);
    assert.throws(() => native.openSessionTable(0.5), TypeError);
  });
});
