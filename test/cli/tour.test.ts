import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { page, terminatorOn } from '../../cli/demo-origin.ts';
import { tourHolds, tourTable } from '../../cli/tour-table.ts';
import { tourRow } from '../../cli/tour.ts';
import type { Promised } from '../../cli/tour.ts';
import type { Visit } from '../../cli/visit.ts';

const VISIT: Visit = {
  protocol: 'TLSv1.3',
  resumed: true,
  session: null,
  ms: 4.25,
  body: page('one'),
  error: null,
};
const PROMISED: Promised = { version: 'TLSv1.3', resumed: true, terminator: 'one' };

test('a page names its terminator, and only our page does', () => {
  assert.equal(terminatorOn(page('two')), 'two');
  assert.equal(terminatorOn(`x${page('two')}`), null);
  assert.equal(terminatorOn(''), null);
});

test('a visit as promised is a row without complaint', () => {
  const row = tourRow('TLS 1.3 resumed', '127.0.0.2', VISIT, PROMISED);
  assert.deepEqual(row.broken, []);
  assert.equal(row.terminator, 'one');
  const tour = { rows: [row], broken: [] };
  assert.ok(tourHolds(tour));
  const table = tourTable(tour);
  for (const cell of ['TLS 1.3 resumed', '127.0.0.2', 'TLSv1.3', 'resumed', 'one', '4.3']) {
    assert.ok(table.includes(cell), cell);
  }
});

describe('whatever is not as promised is said, and the tour does not hold', () => {
  const wrong: Readonly<Record<string, readonly [Partial<Visit>, RegExp]>> = {
    'another protocol': [{ protocol: 'TLSv1.2' }, /protocol TLSv1\.2, not TLSv1\.3/],
    'full instead of resumed': [{ resumed: false }, /full, not resumed/],
    'another terminator': [{ body: page('two') }, /not served by one/],
    'another page': [{ body: 'hello' }, /not the page/],
    'no end': [{ error: 'closed early' }, /closed early/],
  };
  for (const [what, [change, says]] of Object.entries(wrong)) {
    test(what, () => {
      const row = tourRow('x', null, { ...VISIT, ...change }, PROMISED);
      assert.match(row.broken.join('; '), says);
      assert.equal(tourHolds({ rows: [row], broken: [] }), false);
      assert.match(tourTable({ rows: [row], broken: [] }), /NOT AS PROMISED/);
    });
  }
  test('resumed instead of full', () => {
    const row = tourRow('x', null, VISIT, { ...PROMISED, resumed: false });
    assert.match(row.broken.join('; '), /resumed, not full/);
  });
  test('a terminator that never served', () => {
    const tour = { rows: [], broken: ['1 of 2 terminators served'] };
    assert.equal(tourHolds(tour), false);
    assert.match(tourTable(tour), /NOT AS PROMISED: 1 of 2/);
  });
});
