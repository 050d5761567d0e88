import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  addRoutingEpoch,
  deriveRoutingKeys,
  formatRoutingSecret,
  newRoutingSecret,
  parseRoutingSecret,
  type RoutingSecret,
} from '../../config/routing-key.ts';

const A = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f';
const B = 'f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3b4a5968778695a4b3c2d1e0e';
const epochs = (secret: RoutingSecret): number[] => secret.epochs.map(({ epoch }) => epoch);

const good: { name: string; text: string; epochs: number[] }[] = [
  { name: 'one line', text: `0 ${A}`, epochs: [0] },
  { name: 'the first line is current', text: `4 ${A}\n3 ${B}\n`, epochs: [4, 3] },
  { name: 'comments, blank lines', text: `# x\n\n 15\t${A}  # now\n#0 ${B}\n`, epochs: [15] },
  {
    name: 'CRLF, capitals, a byte order mark',
    text: `\uFEFF1 ${A.toUpperCase()}\r\n2 ${B}\r\n`,
    epochs: [1, 2],
  },
];

for (const { name, text, epochs: expected } of good) {
  test(`good: ${name}`, () => {
    const secret = parseRoutingSecret(text);
    assert.deepEqual(epochs(secret), expected);
    assert.equal(Buffer.from(secret.epochs[0]?.secret ?? []).toString('hex'), A);
  });
}

const bad: { name: string; text: string; code: string; line?: number }[] = [
  { name: 'nothing', text: '', code: 'routing-secret-empty' },
  { name: 'comments only', text: '# 0\n\n', code: 'routing-secret-empty' },
  { name: 'no epoch', text: A, code: 'routing-secret-line', line: 1 },
  { name: 'three words', text: `\n1 ${A} x`, code: 'routing-secret-line', line: 2 },
  { name: 'epoch 16', text: `16 ${A}`, code: 'routing-secret-epoch', line: 1 },
  { name: 'epoch 01', text: `01 ${A}`, code: 'routing-secret-epoch', line: 1 },
  { name: 'epoch -1', text: `-1 ${A}`, code: 'routing-secret-epoch', line: 1 },
  { name: 'words swapped', text: `${A} 1`, code: 'routing-secret-epoch', line: 1 },
  { name: '63 digits', text: `1 ${A.slice(1)}`, code: 'routing-secret-length', line: 1 },
  { name: '65 digits', text: `0 ${B}\n1 ${A}0`, code: 'routing-secret-length', line: 2 },
  { name: 'not hex', text: `1 g${A.slice(1)}`, code: 'routing-secret-hex', line: 1 },
  { name: 'zeros', text: `1 ${'0'.repeat(64)}`, code: 'routing-secret-placeholder', line: 1 },
  { name: 'an epoch twice', text: `1 ${A}\n1 ${B}`, code: 'routing-secret-epoch-twice', line: 2 },
  {
    name: 'a secret twice',
    text: `1 ${A}\n2 ${A.toUpperCase()}`,
    code: 'routing-secret-reused',
    line: 2,
  },
];

for (const { name, text, code, line } of bad) {
  test(`bad: ${name}`, () => {
    assert.throws(
      () => parseRoutingSecret(text),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, code);
        if (line !== undefined)
          assert.ok(error.message.startsWith(`Line ${line}: `), error.message);
        for (let at = 0; at + 8 <= 64; at++) {
          assert.ok(!error.message.includes(A.slice(at, at + 8)), 'part of the secret is shown');
        }
        return true;
      },
    );
  });
}

const random32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).filter((b) => new Set(b).size > 8);

test('a secret that was written reads back', () => {
  const distinct = fc.uniqueArray(random32, {
    minLength: 1,
    maxLength: 16,
    selector: (bytes) => Buffer.from(bytes).toString('hex'),
  });
  fc.assert(
    fc.property(distinct, fc.integer({ min: 0, max: 15 }), (secrets, first) => {
      const secret = { epochs: secrets.map((s, i) => ({ epoch: (first + i) % 16, secret: s })) };
      assert.deepEqual(parseRoutingSecret(formatRoutingSecret(secret)), secret);
    }),
  );
});

test('any text is a secret or an error with a code', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 100 }), (text) => {
      try {
        parseRoutingSecret(text);
      } catch (error) {
        assert.match((error as { code?: string }).code ?? '', /^routing-secret-/);
      }
    }),
  );
});

test('rotation: the new epoch is current, one old one stays, and 15 is followed by 0', () => {
  const random = (i: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, j) => i * 3 + j);
  let secret = newRoutingSecret(random(0));
  assert.deepEqual(epochs(secret), [0]);
  for (let i = 1; i <= 40; i++) {
    secret = addRoutingEpoch(secret, random(i));
    assert.deepEqual(epochs(secret), [i % 16, (i - 1) % 16]);
    assert.deepEqual(secret.epochs[0]?.secret, random(i));
    assert.deepEqual(parseRoutingSecret(formatRoutingSecret(secret)), secret);
  }
  assert.deepEqual(epochs(addRoutingEpoch(secret, random(41), 3)), [9, 8, 7]);
  assert.deepEqual(epochs(addRoutingEpoch(secret, random(41), 1)), [9]);
});

test('rotation never leaves two lines of one epoch', () => {
  const odd = parseRoutingSecret(`3 ${A}\n4 ${B}\n`);
  assert.deepEqual(epochs(addRoutingEpoch(odd, new Uint8Array(32).fill(1, 3), 16)), [4, 3]);
});

test('keeping no epoch, or more than there are, is refused', () => {
  const secret = newRoutingSecret(new Uint8Array(32).fill(1, 3));
  for (const keep of [0, 17, 1.5]) {
    assert.throws(() => addRoutingEpoch(secret, new Uint8Array(32), keep), {
      code: 'routing-secret-keep',
    });
  }
});

test('the keys of an epoch differ from each other and from other epochs', () => {
  const keys = parseRoutingSecret(`0 ${A}\n1 ${B}`).epochs.map(deriveRoutingKeys);
  const all = keys.flatMap(({ k1, k2, nodeIdKey }) => [k1, k2, nodeIdKey]);
  assert.equal(new Set(all.map((key) => Buffer.from(key).toString('hex'))).size, 6);
  assert.ok(all.every((key) => key.length === 32));
});
