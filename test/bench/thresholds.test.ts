import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Thresholds } from '../../bench/thresholds.ts';
import { brokenThresholds, errorCount, resumedShare } from '../../bench/thresholds.ts';
import { noErrors, sampleResult } from './sample-result.ts';

const NONE: Thresholds = { minResumed: null, maxErrors: null, p99Us: null };

test('a run without thresholds breaks none', () => {
  assert.deepEqual(brokenThresholds(sampleResult(), NONE), []);
});

test('a run in which nothing was completed is never a success', () => {
  const broken = brokenThresholds(sampleResult({ completed: 0 }), NONE);
  assert.match(broken.join(), /No connection was completed/);
});

test('the resumed share counts those that offered a session, not first connections', () => {
  const result = sampleResult({ handshakesFull: 64, handshakesResumed: 99, offeredButFull: 1 });
  assert.equal(resumedShare(result), 0.99);
  assert.deepEqual(brokenThresholds(result, { ...NONE, minResumed: 0.99 }), []);
  const [sentence = ''] = brokenThresholds(result, { ...NONE, minResumed: 0.995 });
  assert.match(sentence, /--min-resumed 0\.995: 0\.9900 of .* 1 did not\./);
});

test('a share that was just missed does not read as reached', () => {
  const result = sampleResult({ handshakesResumed: 989_999, offeredButFull: 10_001 });
  const [sentence = ''] = brokenThresholds(result, { ...NONE, minResumed: 0.99 });
  assert.match(sentence, /: 0\.9899 of/);
});

test('no session offered is no resumed share', () => {
  const result = sampleResult({ handshakesResumed: 0, offeredButFull: 0 });
  assert.equal(resumedShare(result), null);
  const [sentence = ''] = brokenThresholds(result, { ...NONE, minResumed: 0.5 });
  assert.match(sentence, /no connection offered a session \(--resume always/);
});

test('errors of all kinds count together', () => {
  const result = sampleResult({ errors: noErrors({ unfinished: 2, handshakeAlert: 3 }) });
  assert.equal(errorCount(result), 5);
  assert.deepEqual(brokenThresholds(result, { ...NONE, maxErrors: 5 }), []);
  assert.match(brokenThresholds(result, { ...NONE, maxErrors: 4 }).join(), /there were 5/);
});

test('the 99th percentile is that of the whole connection', () => {
  const { total } = sampleResult();
  const result = sampleResult({ total: { ...total, p99Us: 50_001 } });
  const [sentence = ''] = brokenThresholds(result, { ...NONE, p99Us: 50_000 });
  assert.match(sentence, /--p99 50 ms: it was 50 ms|--p99 50 ms: it was 50\.0/);
  assert.deepEqual(brokenThresholds(result, { ...NONE, p99Us: 50_001 }), []);
});
