import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { createHealth, type Health } from '../../balancer/health.ts';
import {
  ALGORITHMS,
  type Algorithm,
  createPicker,
  fairShare,
  type Picker,
} from '../../balancer/pick.ts';

interface Farm {
  readonly picker: Picker;
  readonly health: Health;
  readonly live: Int32Array;
  /** Pick, and say the candidates. */
  order(affinity?: number, id?: Uint8Array | null, source?: string, nowMs?: number): number[];
}

function farm(
  size: number,
  algorithm: Algorithm = 'rendezvous',
  options: { weights?: number[]; candidates?: number } = {},
): Farm {
  const health = createHealth(size);
  const live = new Int32Array(size);
  const candidates = new Uint16Array(options.candidates ?? size);
  const names = Array.from({ length: size }, (_, i) => `10.0.0.${i}:443`);
  const weights = options.weights;
  const picker = createPicker({
    names,
    algorithm,
    health,
    live,
    candidates,
    ...(weights === undefined ? {} : { weights }),
  });
  return {
    picker,
    health,
    live,
    order: (affinity = -1, id = null, source = '192.0.2.1', nowMs = 0) => [
      ...candidates.subarray(0, picker.pick(affinity, id, source, nowMs).count),
    ],
  };
}

const anId = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const sorted = (order: readonly number[]): number[] => order.toSorted((a, b) => a - b);

const shares: [total: number, terminators: number, share: number][] = [
  [0, 4, 8],
  [24, 4, 8],
  [26, 4, 9],
  [400, 4, 125],
  [401, 4, 126],
  [100, 1, 125],
  [0, 0, 8],
];
for (const [total, terminators, share] of shares) {
  test(`fair share of ${total} over ${terminators} is ${share}`, () => {
    assert.equal(fairShare(total, terminators), share);
  });
}

test('who knows the session goes first', () => {
  const { order, picker } = farm(5);
  for (let i = 0; i < 5; i++) {
    assert.equal(order(i, anId(9))[0], i);
    assert.equal(picker.pick(i, anId(9), '', 0).affinity, 'honoured');
  }
});

test('but not when it is over its fair share: it waits behind those with room', () => {
  const { order, picker, live } = farm(4);
  live.set([7, 0, 0, 0]);
  assert.equal(order(0, anId(1))[0], 0);
  live[0] = 8;
  assert.equal(order(0, anId(1)).at(-1), 0);
  assert.equal(picker.pick(0, anId(1), '', 0).affinity, 'overloaded');
  live.set([125, 92, 92, 91]);
  assert.equal(order(0, anId(1)).at(-1), 0);
  live.set([124, 92, 92, 92]);
  assert.equal(order(0, anId(1))[0], 0);
});

test('replaying one ID fills one terminator to its fair share and no further', () => {
  const { order, live } = farm(4);
  for (let i = 0; i < 10_000; i++) {
    const first = order(2, anId(3))[0] as number;
    live[first] = (live[first] as number) + 1;
  }
  assert.ok(Math.max(...live) <= 1.25 * 2_500 + 1, live.join());
});

test('nor when it is being punished: it goes last, and the ID finds the successors', () => {
  const { order, picker, health } = farm(4);
  const before = order(1, anId(4));
  health.failed(1, 0);
  const after = order(1, anId(4));
  assert.deepEqual(after, [...before.slice(1), 1]);
  assert.equal(picker.pick(1, anId(4), '', 0).affinity, 'down');
});

test('the successors of an ID do not depend on where the client comes from, nor on the algorithm', () => {
  const orders = ALGORITHMS.flatMap((algorithm) =>
    ['192.0.2.1', '192.0.2.2', ''].map((source) => farm(6, algorithm).order(-1, anId(5), source)),
  );
  for (const order of orders) assert.deepEqual(order, orders[0]);
});

test('without an ID the same address goes to the same terminator', () => {
  const { order } = farm(6);
  const seen = new Set<number>();
  for (let i = 0; i < 200; i++) {
    const source = `10.2.0.${i}`;
    assert.deepEqual(order(-1, null, source), order(-1, null, source));
    seen.add(order(-1, null, source)[0] as number);
  }
  assert.equal(seen.size, 6);
});

test('clients without an address (unix sockets) take turns', () => {
  const { order } = farm(3);
  const firsts = Array.from({ length: 6 }, () => order(-1, null, '')[0] as number);
  assert.deepEqual(sorted(firsts), [0, 0, 1, 1, 2, 2]);
});

test('round robin takes turns, by weight, smoothly', () => {
  const even = farm(3, 'roundrobin');
  const turns = Array.from({ length: 6 }, () => even.order()[0]);
  assert.deepEqual(turns, [0, 1, 2, 0, 1, 2]);
  const uneven = farm(3, 'roundrobin', { weights: [4, 1, 1] });
  assert.deepEqual(
    Array.from({ length: 6 }, () => uneven.order()[0]),
    [0, 0, 1, 0, 2, 0],
  );
});

test('round robin passes over the punished, who save up nothing', () => {
  const { order, health } = farm(3, 'roundrobin');
  health.failed(1, 0);
  const turns = Array.from({ length: 4 }, () => order()[0]);
  assert.deepEqual(turns, [0, 2, 0, 2]);
  health.answered(1);
  const next = Array.from({ length: 6 }, () => order()[0] as number);
  assert.deepEqual(sorted(next), [0, 0, 1, 1, 2, 2]);
});

test('least connections, by weight, and turns between equals', () => {
  const { order, live } = farm(3, 'leastconn');
  live.set([5, 3, 4]);
  assert.deepEqual(order(), [1, 2, 0]);
  live.fill(2);
  assert.deepEqual(sorted(Array.from({ length: 3 }, () => order()[0] as number)), [0, 1, 2]);
  const weighted = farm(2, 'leastconn', { weights: [3, 1] });
  weighted.live.set([5, 2]);
  assert.equal(weighted.order()[0], 0);
  weighted.live.set([7, 2]);
  assert.equal(weighted.order()[0], 1);
});

test('a terminator of weight 3 may carry three times as much', () => {
  const { order, live } = farm(2, 'rendezvous', { weights: [3, 1] });
  live.set([300, 100]);
  assert.equal(order(0, anId(1))[0], 0);
  live.set([300, 200]);
  assert.equal(order(1, anId(1))[0], 0);
});

test('the punished go last', () => {
  for (const algorithm of ALGORITHMS) {
    const { order, health } = farm(5, algorithm);
    health.failed(3, 0);
    health.failed(0, 0);
    assert.deepEqual(sorted(order(-1, null, '192.0.2.1', 10).slice(-2)), [0, 3], algorithm);
  }
});

test('after a punishment one client goes there, and nobody else until it is answered', () => {
  const { order, health } = farm(4);
  health.failed(2, 0);
  assert.equal(order(2, anId(1), '', 999).at(-1), 2);
  assert.equal(order(2, anId(1), '', 1_000)[0], 2);
  assert.equal(order(2, anId(1), '', 1_001).at(-1), 2);
  health.answered(2);
  assert.equal(order(2, anId(1), '', 1_002)[0], 2);
});

test('when all are punished there are still candidates', () => {
  const { order, health } = farm(3);
  for (let i = 0; i < 3; i++) health.failed(i, 0);
  assert.deepEqual(sorted(order(1, anId(2), '', 5)), [0, 1, 2]);
  assert.equal(order(1, anId(2), '', 5)[0], 1);
});

test('a short list of candidates has the best ones', () => {
  const all = farm(9);
  const some = farm(9, 'rendezvous', { candidates: 4 });
  for (let i = 0; i < 50; i++) {
    assert.deepEqual(some.order(-1, anId(i)), all.order(-1, anId(i)).slice(0, 4));
  }
  assert.deepEqual(farm(9, 'rendezvous', { candidates: 0 }).order(), []);
});

test('no terminators, no candidates', () => assert.deepEqual(farm(0).order(), []));

test('whatever the load and the health: everybody once, ready before overloaded before punished', () => {
  const node = fc.record({ load: fc.integer({ min: 0, max: 200 }), down: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(node, { minLength: 1, maxLength: 12 }),
      fc.constantFrom(...ALGORITHMS),
      fc.integer({ min: -1, max: 11 }),
      fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: null }),
      (nodes, algorithm, wanted, id) => {
        const { order, health, live } = farm(nodes.length, algorithm);
        for (const [i, { load, down }] of nodes.entries()) {
          live[i] = load;
          if (down) health.failed(i, 0);
        }
        const up = nodes.filter(({ down }) => !down);
        const share = fairShare(
          up.reduce((sum, { load }) => sum + load, 0),
          up.length,
        );
        const rank = (i: number): number => {
          const { load, down } = nodes[i] as { load: number; down: boolean };
          return down ? 2 : load >= share ? 1 : 0;
        };
        const affinity = wanted < nodes.length ? wanted : -1;
        const candidates = order(affinity, id);
        assert.deepEqual(sorted(candidates), [...nodes.keys()]);
        assert.deepEqual(candidates.map(rank), sorted(candidates.map(rank)));
        if (affinity >= 0) {
          const first = candidates.find((i) => rank(i) === rank(affinity));
          assert.equal(first, affinity);
        }
      },
    ),
  );
});
