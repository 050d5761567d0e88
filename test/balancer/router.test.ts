import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createHealth } from '../../balancer/health.ts';
import { createPicker } from '../../balancer/pick.ts';
import {
  createRouter,
  type Router,
  UNKNOWN_NODE_REPORT_MS,
  type UnknownNode,
} from '../../balancer/router.ts';
import { indexNodes, nodeId } from '../../config/node-id.ts';
import { createRoutableIdOpener, sealRoutableId } from '../../config/routable-id.ts';
import { deriveRoutingKeys } from '../../config/routing-key.ts';
import { buildHello, preSharedKey, supportedVersions } from './build-hello.ts';

const ANSWERED = 1;
const REFUSED = 2;
const SILENT = 3;
const EXHAUSTED = 4;
const DRAINED = 7;

const names = ['10.0.0.1:443', '10.0.0.2:443', '10.0.0.3:443'];
const keys = deriveRoutingKeys({ epoch: 0, secret: Uint8Array.from({ length: 32 }, (_, i) => i) });
const TLS13 = supportedVersions(0x0304);

interface Bench {
  readonly router: Router;
  readonly live: Int32Array;
  readonly reports: UnknownNode[];
  readonly changes: [terminator: number, up: boolean][];
  nowMs: number;
  route(bytes: Uint8Array): number[] | number;
  events(...triples: [kind: number, terminator: number, detail: number][]): void;
}

function bench(options: { routing?: boolean } = {}): Bench {
  const hello = new Uint8Array(65_536).fill(0xee);
  const candidates = new Uint16Array(names.length);
  const live = new Int32Array(names.length);
  const health = createHealth(names.length);
  const picker = createPicker({ names, algorithm: 'rendezvous', health, live, candidates });
  const reports: UnknownNode[] = [];
  const changes: [number, boolean][] = [];
  const routing =
    options.routing === false
      ? null
      : { opener: createRoutableIdOpener([keys]), nodes: indexNodes(names, [keys]) };
  const router = createRouter({
    hello,
    routing,
    picker,
    health,
    nowMs: () => self.nowMs,
    unknownNode: (report) => reports.push(report),
    healthChanged: (terminator, up) => changes.push([terminator, up]),
  });
  const self: Bench = {
    router,
    live,
    reports,
    changes,
    nowMs: 0,
    route(bytes) {
      hello.set(bytes);
      const count = router.route(bytes.length, '192.0.2.1');
      return count < 0 ? count : [...candidates.subarray(0, count)];
    },
    events(...triples) {
      const batch = new Int32Array(300).fill(-7);
      batch.set(triples.flat());
      router.events(batch, triples.length * 3);
    },
  };
  return self;
}

let made = 0;
const seal = (name: string): Uint8Array =>
  sealRoutableId(keys, nodeId(keys.nodeIdKey, name), new Uint8Array(21).fill(++made));
const withPsk = (id: Uint8Array): Uint8Array =>
  buildHello({ extensions: [TLS13, preSharedKey([id])] });
const withSessionId = (id: Uint8Array): Uint8Array =>
  buildHello({ sessionId: id, extensions: [TLS13] });

test('a hello goes to who knows it, and is counted by where it said so', () => {
  const { route, router } = bench();
  assert.equal((route(withPsk(seal('10.0.0.3:443'))) as number[])[0], 2);
  assert.equal((route(withSessionId(seal('10.0.0.2:443'))) as number[])[0], 1);
  assert.equal((route(buildHello()) as number[]).length, 3);
  assert.deepEqual(router.counters.affinity, { psk: 1, sessionId: 1, none: 1 });
});

test('what is not TLS is refused and counted by its reason', () => {
  const { route, router } = bench();
  assert.equal(route(Buffer.from('GET / HTTP/1.1\r\n\r\n')), -1);
  assert.equal(route(Buffer.from('SSH-2.0-OpenSSH\r\n')), -1);
  assert.equal(route(buildHello().subarray(0, 20)), -1);
  const { notTls } = router.counters;
  assert.deepEqual([notTls.http, notTls['not-handshake'], notTls.incomplete], [1, 1, 1]);
  assert.equal(
    Object.values(notTls).reduce((a, b) => a + b),
    3,
  );
});

test('bytes behind the length, left by an earlier hello, do not count', () => {
  const { route } = bench();
  const long = buildHello({ extensions: [TLS13] });
  assert.notEqual(route(long), -1);
  assert.equal(route(long.subarray(0, long.length - 1)), -1);
});

test('without a routing secret there is no affinity', () => {
  const { route, router } = bench({ routing: false });
  assert.equal((route(withPsk(seal('10.0.0.3:443'))) as number[]).length, 3);
  assert.deepEqual(router.counters.affinity, { psk: 0, sessionId: 0, none: 1 });
});

test('affinity to the overloaded and to the punished is counted', () => {
  const { route, router, live, events } = bench();
  live[0] = 100;
  assert.equal((route(withPsk(seal('10.0.0.1:443'))) as number[])[2], 0);
  assert.equal(router.counters.affinityOverloaded, 1);
  events([REFUSED, 1, 111]);
  assert.equal((route(withPsk(seal('10.0.0.2:443'))) as number[])[2], 1);
  assert.equal(router.counters.affinityDown, 1);
});

test('an ID of a node that we do not know is counted each time and reported once a minute', () => {
  const self = bench();
  const stranger = withPsk(seal('10.9.9.9:443'));
  for (let i = 0; i < 5; i++) assert.equal((self.route(stranger) as number[]).length, 3);
  assert.equal(self.router.counters.unknownNode, 5);
  assert.deepEqual(
    self.reports.map(({ hellos }) => hellos),
    [1],
  );
  self.nowMs = UNKNOWN_NODE_REPORT_MS;
  self.route(stranger);
  assert.deepEqual(
    self.reports.map(({ hellos }) => hellos),
    [1, 5],
  );
  assert.equal(self.reports[0]?.epoch, 0);
  assert.equal(self.reports[0]?.nodeId, nodeId(keys.nodeIdKey, '10.9.9.9:443'));
});

test('all balancers send the clients of an unknown node to the same successors', () => {
  const id = withPsk(seal('10.9.9.9:443'));
  assert.deepEqual(bench().route(id), bench().route(id));
});

test('events punish and restore, and say so once', () => {
  const self = bench();
  self.events([REFUSED, 0, 111], [SILENT, 0, 1_000], [SILENT, 2, 1_000], [EXHAUSTED, 1, 24]);
  self.events([ANSWERED, 0, 3], [ANSWERED, 1, 3], [DRAINED, 0, 0], [99, 0, 0]);
  assert.deepEqual(self.changes, [
    [0, false],
    [2, false],
    [0, true],
  ]);
  assert.equal((self.route(buildHello()) as number[])[2], 2);
});

test('only the events that are there are read', () => {
  const self = bench();
  self.router.events(Int32Array.of(REFUSED, 0, 0, REFUSED, 1, 0), 3);
  assert.deepEqual(self.changes, [[0, false]]);
});
