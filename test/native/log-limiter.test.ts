import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogLimiter } from '../../native/log-limiter.ts';

test('the first is admitted, the rest counted until the interval is over', () => {
  const limiter = new LogLimiter(1_000);
  assert.equal(limiter.admit('a', 0), 0);
  assert.equal(limiter.admit('a', 1), null);
  assert.equal(limiter.admit('a', 999), null);
  assert.equal(limiter.admit('a', 1_000), 2);
  assert.equal(limiter.admit('a', 2_000), 0);
});

test('keys do not know of each other', () => {
  const limiter = new LogLimiter(1_000);
  assert.equal(limiter.admit('a', 0), 0);
  assert.equal(limiter.admit('b', 1), 0);
  assert.equal(limiter.admit('a', 2), null);
});
