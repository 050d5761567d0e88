import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameCounters, sumCounters, withoutGauges } from '../../native/counters.ts';
import { fitPipes, fitToFileLimit } from '../../native/file-limit.ts';

test('counters get their names, sums their parts, and the dead leave no gauges', () => {
  const one = nameCounters(['accepted', 'connections'], new Float64Array([3, 1]));
  assert.deepEqual(one, { accepted: 3, connections: 1 });
  assert.deepEqual(sumCounters([one, { accepted: 4, other: 1 }]), {
    accepted: 7,
    connections: 1,
    other: 1,
  });
  assert.deepEqual(withoutGauges(one), { accepted: 3 });
});

test('connections are fitted to the file limit, two files each, and a wish not granted is logged', () => {
  const said: string[] = [];
  const logger = {
    warn: () => said.push('warn'),
    debug: () => said.push('debug'),
  } as unknown as Parameters<typeof fitToFileLimit>[3];
  const limits = { maxConnections: 1_000, maxUndecidedHellos: 10 };
  assert.equal(fitToFileLimit(limits, 10, 20_000, logger), limits);
  assert.equal(fitToFileLimit(limits, 10, 1_024, logger).maxConnections, (1_024 - 64 - 20) / 2);
  assert.equal(fitToFileLimit(limits, 0, 10, logger).maxConnections, 1);
  assert.deepEqual(said, ['warn', 'warn']);
});

test('pipes never take more than a quarter of the descriptors', () => {
  assert.equal(fitPipes(256, 20_000), 256);
  assert.equal(fitPipes(256, 256), 24);
  assert.equal(fitPipes(256, 10), 0);
  assert.equal(fitPipes(0, 20_000), 0);
});
