import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { createHealth, DEFAULT_HEALTH, type HealthState } from '../../balancer/health.ts';

type Step = readonly [
  atMs: number,
  what: 'failed' | 'answered' | 'exhausted' | 'led',
  then: HealthState,
];

/** Each line: at this time this happens, and then the terminator is in this state. */
const stories: { name: string; steps: Step[] }[] = [
  { name: 'nothing ever happened', steps: [[0, 'led', 'up']] },
  {
    name: 'a failure punishes for a second, then one trial goes out',
    steps: [
      [0, 'failed', 'punished'],
      [999, 'led', 'punished'],
      [1_000, 'led', 'trying'],
      [1_001, 'led', 'trying'],
    ],
  },
  {
    name: 'a failed trial doubles the punishment, up to 30 s',
    steps: [
      [0, 'failed', 'punished'],
      [1_000, 'led', 'trying'],
      [1_010, 'failed', 'punished'],
      [3_009, 'led', 'punished'],
      [3_010, 'led', 'trying'],
      [3_010, 'failed', 'punished'],
      [7_010, 'failed', 'punished'],
      [15_010, 'failed', 'punished'],
      [31_010, 'failed', 'punished'],
      [61_009, 'led', 'punished'],
      [61_010, 'failed', 'punished'],
      [91_009, 'led', 'punished'],
      [91_010, 'led', 'trying'],
    ],
  },
  {
    name: 'only a byte restores, and it restores all',
    steps: [
      [0, 'failed', 'punished'],
      [1_000, 'failed', 'punished'],
      [1_500, 'answered', 'up'],
      [1_600, 'failed', 'punished'],
      [2_600, 'led', 'trying'],
      [2_601, 'answered', 'up'],
    ],
  },
  {
    name: 'a hundred clients cut off at once are one failure',
    steps: [
      ...Array.from({ length: 100 }, (): Step => [5, 'failed', 'punished']),
      [1_004, 'failed', 'punished'],
      [1_005, 'led', 'trying'],
    ],
  },
  {
    name: 'a trial without an outcome expires, and the next one goes out',
    steps: [
      [0, 'failed', 'punished'],
      [1_000, 'led', 'trying'],
      [5_999, 'led', 'trying'],
      [6_000, 'led', 'trying'],
      [10_999, 'led', 'trying'],
      [11_000, 'answered', 'up'],
    ],
  },
  {
    name: 'our own shortage is not its fault, and frees the trial',
    steps: [
      [0, 'exhausted', 'up'],
      [0, 'failed', 'punished'],
      [500, 'exhausted', 'punished'],
      [1_000, 'led', 'trying'],
      [1_001, 'exhausted', 'due'],
      [1_002, 'led', 'trying'],
    ],
  },
];

for (const { name, steps } of stories) {
  test(name, () => {
    const health = createHealth(1);
    for (const [index, [atMs, what, then]] of steps.entries()) {
      if (what === 'answered' || what === 'exhausted') health[what](0);
      else health[what](0, atMs);
      assert.equal(health.state(0, atMs), then, `step ${index}`);
      assert.equal(health.mayLead(0, atMs), then === 'up' || then === 'due', `step ${index}`);
    }
  });
}

test('changes are told once', () => {
  const health = createHealth(2);
  assert.equal(health.answered(0), false);
  assert.equal(health.failed(0, 0), true);
  assert.equal(health.failed(0, 1), false);
  assert.equal(health.answered(0), true);
  assert.equal(health.answered(0), false);
  assert.equal(health.state(1, 0), 'up');
});

test('a terminator that nobody configured is nobody, not a crash', () => {
  const health = createHealth(1);
  assert.equal(health.failed(7, 0), false);
  assert.equal(health.answered(-1), false);
  health.exhausted(7);
  health.led(7, 0);
  assert.equal(health.state(7, 0), 'up');
});

test('whatever happens: punished at most 30 s, one trial at a time, and a byte restores', () => {
  const step = fc.tuple(
    fc.integer({ min: 0, max: 10_000 }),
    fc.constantFrom('failed', 'answered', 'exhausted', 'led'),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const health = createHealth(1);
      let nowMs = 0;
      for (const [afterMs, what] of steps) {
        nowMs += afterMs;
        const before = health.state(0, nowMs);
        if (what === 'answered' || what === 'exhausted') health[what](0);
        else health[what](0, nowMs);
        const after = health.state(0, nowMs);
        if (what === 'answered') assert.equal(after, 'up');
        if (what === 'failed') assert.equal(after, 'punished');
        if (what === 'led') assert.equal(after, before === 'due' ? 'trying' : before);
        if (what === 'exhausted') assert.equal(after, before === 'trying' ? 'due' : before);
        // From anywhere, waiting long enough gives it another chance.
        const later = nowMs + DEFAULT_HEALTH.maxPenaltyMs + DEFAULT_HEALTH.trialExpiryMs;
        assert.ok(health.mayLead(0, later));
      }
    }),
  );
});
