/** What a comparison makes of its figures. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { costTable, errorTable, rateTable, ratioToBest } from '../../bench/comparison.ts';
import { comparisonSvg } from '../../bench/comparison-plots.ts';
import { cpuTimeNs, median } from '../../bench/cpu-time.ts';
import { compareRatios, describeVerdict } from '../../bench/guard-ratios.ts';
import { seededRandom, shuffled } from '../../bench/random.ts';
import type { Outcome, Row } from '../../bench/runner.ts';
import { judged } from '../../bench/runner.ts';
import type { Slice } from '../../bench/slice.ts';
import { cellOf } from '../../bench/slice.ts';
import { balancerTrials } from '../../bench/trials/balancers.ts';
import { terminatorTrials } from '../../bench/trials/terminators.ts';
import type { Trial } from '../../bench/trials/trial.ts';

const slice = (changes: Partial<Slice> = {}): Slice => ({
  connections: 1_000,
  megabytes: 10,
  seconds: 2,
  cpuUs: 400_000,
  resumed: 1_000,
  offered: 1_000,
  errors: {},
  generatorBusy: 0.5,
  ...changes,
});

function trial(key: string): Trial {
  const found = [...terminatorTrials, ...balancerTrials].find((each) => each.key === key);
  assert.ok(found !== undefined);
  return found;
}

const costing = (us: number): Outcome => ({
  kind: 'measured',
  cell: cellOf([slice({ cpuUs: us * 1_000 })], 'µs per connection'),
});

describe('cells', () => {
  test('the median is the middle one, or between the two', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });

  test('cost is per connection or per megabyte, with minimum and maximum', () => {
    const slices = [slice(), slice({ cpuUs: 500_000 }), slice({ cpuUs: 300_000 })];
    const cell = cellOf(slices, 'µs per connection');
    assert.deepEqual([cell.median, cell.min, cell.max, cell.ratePerS], [400, 300, 500, 500]);
    assert.equal(cellOf(slices, 'µs per MB').median, 40_000);
  });

  test('a slice in which nothing got through has errors and no cost', () => {
    const failed = slice({ connections: 0, errors: { connectRefused: 7 } });
    const cell = cellOf([slice(), failed, failed], 'µs per connection');
    assert.deepEqual(cell.values, [400]);
    assert.deepEqual(cell.errors, { connectRefused: 14 });
  });

  test('a server that did not resume is not compared in a row of resumption', () => {
    const cell = cellOf([slice({ resumed: 500 })], 'µs per connection');
    const outcome = judged(trial('resumed-id-1.2'), cell);
    assert.equal(outcome.kind, 'other');
    assert.match(outcome.kind === 'other' ? outcome.why : '', /50\.0 % of the offered/);
  });

  test('a server that resumed is not compared in a row of full handshakes', () => {
    assert.equal(
      judged(trial('full-rsa-1.2'), cellOf([slice()], 'µs per connection')).kind,
      'other',
    );
  });

  test('a server with many errors is not compared', () => {
    const cell = cellOf([slice({ errors: { responseStatus: 100 } })], 'µs per connection');
    assert.equal(judged(trial('resumed-id-1.2'), cell).kind, 'other');
  });

  test('a server that nobody reached has failed', () => {
    const cell = cellOf([slice({ connections: 0 })], 'µs per connection');
    assert.equal(judged(trial('resumed-id-1.2'), cell).kind, 'failed');
  });
});

describe('tables', () => {
  const row: Row = {
    trial: trial('resumed-id-1.2'),
    outcomes: {
      tlsfarm: costing(300),
      nginx: costing(400),
      haproxy: { ...costing(100), kind: 'other', why: '0.0 % resumed' } as Outcome,
      hitch: { kind: 'failed', why: 'it ended at start' },
      stunnel: costing(600),
    },
  };

  test('the best peer is one that did what the row says', () => {
    assert.deepEqual(ratioToBest(row), { ratio: 0.75, best: 'nginx' });
  });

  test('a failed peer stays, and says so', () => {
    const [head = [], cells = []] = costTable([row]);
    assert.deepEqual(head, [
      ...['row', 'tlsfarm', 'nginx', 'haproxy', 'hitch', 'stunnel', 'tlsfarm to best peer'],
    ]);
    assert.deepEqual(cells.slice(1), [
      ...['300 (300–300)', '400 (400–400)', '[100 (100–100)] ¹', 'failed ¹', '600 (600–600)'],
      '0.75 of nginx',
    ]);
    assert.match(errorTable([row])[1]?.[4] ?? '', /failed: it ended at start/);
    assert.match(errorTable([row])[1]?.[3] ?? '', /0 in 1000; 0\.0 % resumed/);
  });

  test('a rate that the generator limited says so', () => {
    const cell = cellOf([slice({ generatorBusy: 0.9 })], 'µs per connection');
    const bound: Row = { trial: row.trial, outcomes: { tlsfarm: { kind: 'measured', cell } } };
    assert.equal(rateTable([bound])[1]?.[1], '500 (generator-bound)');
  });

  test('what is not there yet is named', () => {
    const notYet: Row = {
      trial: trial('resumed-ticket-1.2'),
      outcomes: { tlsfarm: { kind: 'untried', why: 'not yet' }, nginx: costing(400) },
    };
    assert.deepEqual(costTable([notYet])[1]?.slice(1), ['not yet', '400 (400–400)', '–']);
  });

  test('a target of its own stands beside the best peer', () => {
    const idle: Row = { trial: trial('idle-1.2'), outcomes: row.outcomes };
    assert.match(costTable([idle])[1]?.at(-1) ?? '', /0\.75 of nginx; 12\.40 of the 24\.2 wanted/);
  });

  test('the plot is an SVG that names every server', () => {
    const svg = comparisonSvg('Terminators', [row]);
    assert.match(svg, /^<svg/);
    for (const name of ['tlsfarm', 'nginx', 'stunnel']) assert.match(svg, new RegExp(`>${name}<`));
  });

  test('no row has the name of another', () => {
    const keys = [...terminatorTrials, ...balancerTrials].map(({ key }) => key);
    assert.equal(new Set(keys).size, keys.length);
  });
});

describe('the guard', () => {
  test('a sixth less per core passes, a fifth less does not', () => {
    const [near, far, better] = compareRatios(
      { a: 0.5, b: 0.5, c: 0.5 },
      { a: 0.58, b: 0.63, c: 0.3 },
    );
    assert.deepEqual([near?.broken, far?.broken, better?.broken], [false, true, false]);
    assert.ok(far !== undefined);
    assert.match(describeVerdict(far), /b: 0\.630 of nginx, stored 0\.500, 21 % less .*TOO MUCH/);
  });

  test('a stored row that was not measured is broken, a new one is not', () => {
    const [gone, fresh] = compareRatios({ a: 0.5 }, { b: 0.5 });
    assert.deepEqual([gone?.broken, fresh?.broken], [true, false]);
  });
});

describe('method', () => {
  test('a seed repeats the order, and all orders happen', () => {
    const order = (seed: number): string => shuffled(['a', 'b', 'c'], seededRandom(seed)).join('');
    assert.equal(order(7), order(7));
    const seen = new Set(Array.from({ length: 200 }, (_, seed) => order(seed)));
    assert.equal(seen.size, 6);
  });

  test('CPU time grows with work', () => {
    const before = cpuTimeNs([process.pid]);
    const untilMs = performance.now() + 50;
    while (performance.now() < untilMs);
    const used = cpuTimeNs([process.pid]) - before;
    assert.ok(used > 1_000_000, `${used} ns`);
  });
});
