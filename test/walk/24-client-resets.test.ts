/** Clients that vanish, ten thousand times, in whatever state: nothing of them is left. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { visit } from '../../cli/visit.ts';
import { random } from '../native/random.ts';
import { atRest, count, openFiles, residentKiB, rise } from './at-rest.ts';
import type { FarmMember, Stats } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import { startOrigin } from './origin.ts';
import { RawClient, recordedHello } from './raw-client.ts';
import { connectTls13, helloBytes } from './tls13-client.ts';

const AT_ONCE = 64;
/** An operation takes up to that many turns of the loop: some milliseconds. */
const POLLS = 800;
/** Fewer than operations come at once, and fewer than handshakes: both queues are used. */
const RING = 8;
const FIBERS = 16;

/** Up to so many milliseconds, from the seed. */
type Pause = (upToMs: number) => Promise<unknown>;
interface Player {
  readonly pause: Pause;
  readonly hello: Buffer;
}

const hello12 = recordedHello('openssl-tls12');
const hellos = [
  hello12,
  recordedHello('node24-tls13'),
  recordedHello('openssl-tls13'),
  helloBytes(),
];

/** Where a client is when it resets, how often of twenty, and how it gets there. */
const STATES: Readonly<
  Record<string, { share: number; play(port: number, player: Player): Promise<void> }>
> = {
  'connected, nothing said': {
    share: 2,
    async play(port, { pause }) {
      const client = await RawClient.open(port);
      await pause(2);
      client.reset();
    },
  },
  'half a hello': {
    share: 2,
    async play(port, { hello, pause }) {
      const client = await RawClient.open(port);
      client.write(hello.subarray(0, hello.length >> 1));
      await pause(2);
      client.reset();
    },
  },
  'a whole hello: no fiber yet, or the job paused, or its operation in the queue': {
    share: 10,
    async play(port, { hello, pause }) {
      const client = await RawClient.open(port);
      client.write(hello);
      await pause(8);
      client.reset();
    },
  },
  'after ServerHello, before the key exchange': {
    share: 3,
    async play(port, { hello }) {
      const client = await RawClient.open(port);
      client.write(hello);
      await client.answer();
      client.reset();
    },
  },
  'after Finished': {
    share: 1,
    async play(port, { pause }) {
      const client = await connectTls13({ port });
      await pause(1);
      client.reset();
    },
  },
  'while relaying': {
    share: 2,
    async play(port, { pause }) {
      const client = await connectTls13({ port });
      client.write('echo');
      await client.receives(4);
      client.write(Buffer.alloc(100_000));
      await pause(2);
      client.reset();
    },
  },
};

test('10,000 resets at every state of a handshake leave nothing behind', async (t) => {
  const farm = await startFarm(t, []);
  // What is made once, on first use: a cache of OpenSSL's, a page of V8's.
  await resets(t, farm, 1_000);
  const before = await farm.atRest();

  const seen = await resets(t, farm, 5_000);
  const middle = await farm.atRest();
  await resets(t, farm, 5_000);
  const after = await farm.atRest();

  // It was what it should be: jobs were paused, the ring and the pool of fibers were full.
  for (const gauge of ['paused', 'waitingForFiber', 'opsInFlight', 'handshaking']) {
    assert.ok((seen[gauge] ?? 0) > 0, `${gauge} was never seen`);
  }
  const { terminator: first } = before;
  const { terminator: last } = after;
  assert.ok(rise(first, last, 'opsCancelled') > 500, 'too few jobs were paused');
  assert.ok(rise(first, last, 'opsQueued') > 500, 'the ring was hardly ever full');
  assert.ok(rise(first, last, 'failedReset') > 3_000);
  assert.ok(rise(first, last, 'clientReset') > 100, 'too few had come as far as the relay');
  assert.equal(count(last, 'zombiesMade'), 0);
  assertAllCounted(before, after);
  assert.ok(count(last, 'fibersInUse') <= FIBERS);

  assert.deepEqual(after.pids, before.pids, 'a son was replaced');
  assert.deepEqual(after.files, before.files, 'descriptors were left open');
  for (const [i, kiB] of after.residentKiB.entries()) {
    const then = middle.residentKiB[i] ?? 0;
    t.diagnostic(`${['balancer', 'terminator'][i]}: ${then} KiB, then ${kiB} KiB`);
    assert.ok(kiB <= 1.05 * then, `${then} KiB after 5,000, ${kiB} KiB after 10,000`);
  }
  await assertServedAndResumed(farm.balancer);
});

test('operations that cannot be cancelled outlive their clients, and then go too', async (t) => {
  const farm = await startFarm(t, ['cancellable=no']);
  await resets(t, farm, 500);
  const before = await farm.atRest();
  const seen = await resets(t, farm, 2_000);
  const after = await farm.atRest();
  assert.ok((seen['zombies'] ?? 0) > 0, 'no zombie was seen');
  assert.ok(rise(before.terminator, after.terminator, 'zombiesMade') > 100);
  assert.equal(count(after.terminator, 'zombies'), 0);
  assert.deepEqual(after.pids, before.pids, 'a son was replaced');
  assert.deepEqual(after.files, before.files, 'descriptors were left open');
  await assertServedAndResumed(farm.balancer);
});

interface Farm {
  readonly balancer: FarmMember;
  readonly terminator: FarmMember;
  atRest(): Promise<AtRest>;
}

interface AtRest {
  readonly balancer: Stats;
  readonly terminator: Stats;
  readonly pids: readonly number[];
  readonly files: readonly number[];
  readonly residentKiB: readonly number[];
}

async function startFarm(t: TestContext, device: readonly string[]): Promise<Farm> {
  const origin = await startOrigin(t, {
    kind: 'custom',
    serve: (socket) => {
      socket.on('data', (chunk: Buffer) => {
        if (chunk.toString('latin1', 0, 4) === 'GET ') socket.end('HTTP/1.1 200 OK\r\n\r\n');
        else socket.write(chunk);
      });
    },
  });
  const terminator = await startTerminator(t, origin.address, [
    ...['--workers', '1', '--max-fibers', `${FIBERS}`],
    ...['--device', [`test:${POLLS}`, `depth=${RING}`, ...device].join()],
  ]);
  const balancer = await startBalancer(t, [terminator.address]);
  return {
    balancer,
    terminator,
    async atRest() {
      const both = [await atRest(balancer), await atRest(terminator)] as const;
      const pids = both.flatMap(({ sonPids }) => sonPids);
      return {
        balancer: both[0],
        terminator: both[1],
        pids,
        files: pids.map(openFiles),
        residentKiB: pids.map(residentKiB),
      };
    },
  };
}

/** So many clients, half of them directly at the terminator; the highest value seen of each gauge. */
async function resets(
  t: TestContext,
  { balancer, terminator }: Farm,
  clients: number,
): Promise<Record<string, number>> {
  const { seed, next } = random();
  t.diagnostic(`TLSFARM_SEED=${seed}`);
  const deck = Object.values(STATES).flatMap(({ share, play }) =>
    new Array<typeof play>(share).fill(play),
  );
  let left = clients;
  const loop = async (): Promise<void> => {
    while (left-- > 0) {
      const { port } = next() < 0.5 ? balancer : terminator;
      const play = deck[Math.floor(next() * deck.length)];
      const hello = hellos[Math.floor(next() * hellos.length)] ?? hello12;
      await play?.(port, { hello, pause: (upToMs) => delay(next() * upToMs) });
    }
  };
  const seen: Record<string, number> = {};
  const done = Promise.all(Array.from({ length: AT_ONCE }, loop)).then(() => true);
  do {
    const { counters } = await terminator.stats();
    for (const [name, value] of Object.entries(counters)) {
      seen[name] = Math.max(seen[name] ?? 0, value);
    }
  } while (!(await Promise.race([done, delay(50, false)])));
  return seen;
}

/** Every connection that was accepted has one end, and only one. */
function assertAllCounted(before: AtRest, after: AtRest): void {
  const sum = (role: 'balancer' | 'terminator', names: readonly string[]): number =>
    names.reduce((total, name) => total + rise(before[role], after[role], name), 0);
  const relayed = ['closedClean', 'clientReset', 'idleTimeout'];
  const handshakes = ['handshakeFull12', 'handshakeFull13'];
  const failed = [
    ...['failedNotTls', 'failedClientAlert', 'failedEof', 'failedReset', 'failedOther'],
    'handshakeTimeout',
  ];
  assert.equal(
    sum('balancer', [
      'helloTimeout',
      'clientGoneEarly',
      'noTerminator',
      'terminatorReset',
      ...relayed,
    ]),
    sum('balancer', ['accepted']),
  );
  assert.equal(sum('terminator', [...failed, ...handshakes]), sum('terminator', ['accepted']));
  assert.equal(
    sum('terminator', [
      'truncatedByClient',
      'brokenByClient',
      'upstreamReset',
      'upstreamRefused',
      ...relayed,
    ]),
    sum('terminator', handshakes),
  );
}

async function assertServedAndResumed({ host, port }: FarmMember): Promise<void> {
  const { ca } = await testFiles();
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const to = { host, port, ca, version, client: null };
    const first = await visit({ ...to, session: null });
    assert.equal(first.error, null);
    const second = await visit({ ...to, session: first.session });
    assert.equal(second.error, null);
    assert.equal(second.resumed, true);
  }
}
