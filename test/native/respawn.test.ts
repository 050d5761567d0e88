import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RESPAWN_MAX_DELAY_MS, RESPAWN_RESET_MS, respawn } from '../../native/respawn.ts';

/** The delays of so many deaths in a row. */
function delays(livedMs: number, deaths: number): number[] {
  const seen: number[] = [];
  let row = 0;
  for (let death = 0; death < deaths; death++) {
    const next = respawn(row, livedMs);
    seen.push(next.delayMs);
    row = next.deaths;
  }
  return seen;
}

test('the first death is answered at once, then 100 ms doubling to 5 s', () => {
  assert.deepEqual(delays(50, 9), [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
});

test('whoever lived long enough is replaced at once every time', () => {
  assert.deepEqual(delays(RESPAWN_RESET_MS, 4), [0, 0, 0, 0]);
});

test('a healthy life ends the row of deaths', () => {
  assert.deepEqual(respawn(7, RESPAWN_RESET_MS), { delayMs: 0, deaths: 1 });
  assert.deepEqual(respawn(1, RESPAWN_RESET_MS - 1), { delayMs: 100, deaths: 2 });
});

test('the delay stays bounded for ever', () => {
  assert.equal(respawn(10_000, 0).delayMs, RESPAWN_MAX_DELAY_MS);
});
