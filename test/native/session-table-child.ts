/**
 * A process that hammers the session table on fd 3, for session-table-processes.test.ts.
 *
 *     node session-table-child.ts <seed> <operations, 0 = for ever> <IDs in play> <largest DER>
 *
 * Which bytes belong to which ID is a pure function, so that every process can tell a wrong session
 * from a right one whoever put it. Prints `ready`, then one line of JSON when it is through.
 */
import assert from 'node:assert/strict';

import { native } from '../../native/index.ts';
import { random } from './random.ts';
import { idOf, nowS, policyOf, recordOf } from './session-table-fixture.ts';

const [seed, operations, ids, largest] = process.argv.slice(2).map(Number) as [
  number,
  number,
  number,
  number,
];
const { next } = random(String(seed));
const table = native.openSessionTable(3);
const totals = { found: 0, missed: 0, stored: 0, lost: 0, deleted: 0 };

process.stdout.write('ready\n');
const end = operations === 0 ? Number.POSITIVE_INFINITY : operations;
for (let i = 0; i < end; i++) {
  const n = Math.floor(next() * ids);
  const what = next();
  if (what < 0.5) {
    const revision = Math.floor(next() * 4);
    const replaces = next() < 0.3 ? idOf(Math.floor(next() * ids)) : null;
    const record = recordOf(n, revision, largest);
    if (table.put(idOf(n), policyOf(n), record, nowS, replaces)) totals.stored++;
    else totals.lost++;
  } else if (what < 0.9) {
    const found = table.get(idOf(n), policyOf(n), nowS);
    if (found === null) {
      totals.missed++;
    } else {
      assert.deepEqual(found, recordOf(n, found.uses, largest), `seed ${seed}, operation ${i}`);
      totals.found++;
    }
  } else if (what < 0.95) {
    assert.equal(table.get(idOf(n), policyOf(n + 1), nowS), null);
  } else if (table.delete(idOf(n))) {
    totals.deleted++;
  }
}
process.stdout.write(`${JSON.stringify(totals)}\n`);
