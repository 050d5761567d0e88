import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidArgumentError } from 'commander';
import {
  address,
  device,
  durationMs,
  durationS,
  target,
  time,
  timeS,
  whole,
} from '../../cli/values.ts';

/** Each parser with what it takes, and what it refuses. */
const good: readonly (readonly [string, (text: string) => unknown, string, unknown])[] = [
  ['time', durationMs, '250', 250],
  ['time', durationMs, '250ms', 250],
  ['time', durationMs, '10s', 10_000],
  ['time', durationMs, '1.5s', 1_500],
  ['time', durationMs, '5m', 300_000],
  ['time', durationMs, '2h', 7_200_000],
  ['time in s', durationS, '2h', 7_200],
  ['time in s', durationS, '1ms', 1],
  ['number', whole(1, 9), '9', 9],
  ['number', whole(0, 9), '0', 0],
  ['address', address, '[::1]:0', { host: '::1', port: 0 }],
  ['target', target, 'unix:/a', { path: '/a' }],
  ['device', device, 'inline', { kind: 'inline', polls: 1, depth: 1, cancellable: true }],
  ['device', device, 'test', { kind: 'test', polls: 8, depth: 64, cancellable: true }],
  ['device', device, 'test:3', { kind: 'test', polls: 3, depth: 64, cancellable: true }],
  [
    'device',
    device,
    'test:3,depth=5,cancellable=no',
    { kind: 'test', polls: 3, depth: 5, cancellable: false },
  ],
];

const bad: readonly (readonly [string, (text: string) => unknown, string])[] = [
  ['time', durationMs, '0'],
  ['time', durationMs, ''],
  ['time', durationMs, '10 s'],
  ['time', durationMs, '-1s'],
  ['time', durationMs, '30d'],
  ['time', durationMs, '600h'],
  ['time', durationMs, '0.1ms'],
  ['number', whole(1, 9), '0'],
  ['number', whole(1, 9), '10'],
  ['number', whole(1, 9), '1e0'],
  ['number', whole(1, 9), ' 1'],
  ['number', whole(1, 9), ''],
  ['address', address, 'x'],
  ['target', target, '127.0.0.1:0'],
  ['device', device, 'test:0'],
  ['device', device, 'test,cancellable=maybe'],
  ['device', device, 'qat'],
];

describe('taken', () => {
  for (const [what, parse, text, value] of good) {
    test(`${what} '${text}'`, () => assert.deepEqual(parse(text), value));
  }
});

describe('refused, with the fix', () => {
  for (const [what, parse, text] of bad) {
    test(`${what} '${text}'`, () => assert.throws(() => parse(text), InvalidArgumentError));
  }
});

test('the default of a time is shown in words', () => {
  const shown = (option: { defaultValueDescription?: string }): unknown =>
    option.defaultValueDescription;
  assert.equal(shown(time('--x <time>', '', 600_000)), '10m');
  assert.equal(shown(time('--x <time>', '', 1_500)), '1500ms');
  assert.equal(shown(timeS('--x <time>', '', 7_200)), '2h');
});
