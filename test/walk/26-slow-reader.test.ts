/** Large transfers to somebody slow: every byte arrives, and nobody in between keeps them in memory. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { atRest, count, residentKiB } from './at-rest.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import { pattern, startOrigin } from './origin.ts';

const MIB = 1 << 20;
const LARGE = 200 * MIB;
/** What V8 takes when it likes; a buffered transfer would be twenty times as much. */
const GROWTH_KIB = 8 * 1024;
/** The slow one stops for the first time when the kernel's buffers are still small. */
const STOPS = [1, 10, 40, 90, 150].map((mib) => mib * MIB);

for (const { how, flags } of [
  { how: 'spliced', flags: [] },
  { how: 'copied', flags: ['--max-pipes', '0'] },
]) {
  test(`a large download to a slow reader is ${how} in bounded memory and arrives whole`, async (t) => {
    const flow = new Flow();
    const farm = await startFarm(t, flags, (socket) => {
      socket.once('data', () => void flow.send(socket).then(() => socket.end()));
    });
    const client = await connectTo(farm.balancer);
    client.write('go on');
    await flow.receiveSlowly(client, () => farm.look());
    assert.equal(flow.received, LARGE);
    client.end();
    farm.assertBounded(how);
    await atRest(farm.terminator);
  });

  test(`a large upload to a slow origin is ${how} in bounded memory and arrives whole`, async (t) => {
    const flow = new Flow();
    const farm = await startFarm(t, flags, (socket) => {
      void flow.receiveSlowly(socket, () => farm.look()).then(() => socket.end('thank you'));
    });
    const client = await connectTo(farm.balancer);
    let answer = '';
    client.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    await flow.send(client);
    client.end();
    await once(client, 'end');
    assert.equal(answer, 'thank you');
    assert.equal(flow.received, LARGE);
    farm.assertBounded(how);
    await atRest(farm.terminator);
  });
}

/** One transfer of a known pattern, and where it is. */
class Flow {
  sent = 0;
  received = 0;

  async send(to: Socket): Promise<void> {
    while (this.sent < LARGE) {
      const bytes = patternAt(this.sent, Math.min(MIB, LARGE - this.sent));
      this.sent += bytes.length;
      if (!to.write(bytes)) await once(to, 'drain');
    }
  }

  /** Resolves at the end; stops now and then until nothing moves any more, and calls `stopped` then. */
  async receiveSlowly(from: Socket, stopped: () => Promise<void>): Promise<void> {
    const stops = [...STOPS];
    from.on('data', (chunk: Buffer) => {
      assert.ok(chunk.equals(patternAt(this.received, chunk.length)), `at ${this.received}`);
      this.received += chunk.length;
      if (this.received < (stops[0] ?? Number.POSITIVE_INFINITY)) return;
      stops.shift();
      from.pause();
      void this.#stalled()
        .then(stopped)
        .then(() => from.resume());
    });
    await once(from, 'end');
  }

  /** There is no event for "nothing happens". */
  async #stalled(): Promise<void> {
    let before = -1;
    while (before !== this.sent) {
      before = this.sent;
      await delay(150);
    }
    // Later on what is left may fit into the sockets of three hops: the kernel lets them grow.
    if (this.received < LARGE / 10) assert.ok(this.sent < LARGE, 'somebody has buffered all of it');
  }
}

interface Farm {
  readonly balancer: FarmMember;
  readonly terminator: FarmMember;
  /** While the transfer stands still. */
  look(): Promise<void>;
  assertBounded(how: string): void;
}

async function startFarm(
  t: TestContext,
  balancerFlags: readonly string[],
  serve: (socket: Socket) => void,
): Promise<Farm> {
  const origin = await startOrigin(t, {
    kind: 'custom',
    serve: (socket) => {
      // The first client is there to load what is loaded once.
      if (origin.connections > 1) serve(socket);
      else socket.on('end', () => socket.end()).resume();
    },
  });
  const terminator = await startTerminator(t, origin.address, ['--workers', '1']);
  const balancer = await startBalancer(t, [terminator.address], balancerFlags);
  const first = await connectTo(balancer);
  first.end();
  await once(first, 'close');
  const stats = await Promise.all([atRest(balancer), atRest(terminator)]);
  const sons = stats.flatMap(({ sonPids }) => sonPids);
  const before = sons.map(residentKiB);
  let growth = before.map(() => 0);
  let looks = 0;
  let pipes = 0;
  let chunks = 0;
  return {
    balancer,
    terminator,
    async look() {
      looks++;
      const now = await balancer.stats();
      pipes = Math.max(pipes, count(now, 'pipesInUse'));
      chunks = Math.max(chunks, count(now, 'chunksInUse'));
      growth = sons.map((pid, i) => Math.max(growth[i] ?? 0, residentKiB(pid) - (before[i] ?? 0)));
    },
    assertBounded(how) {
      assert.equal(looks, STOPS.length);
      t.diagnostic(`grown by ${growth.join(' and ')} KiB; ${pipes} pipes, ${chunks} chunks`);
      for (const kiB of growth) assert.ok(kiB < GROWTH_KIB, `grown by ${kiB} KiB`);
      if (how === 'spliced') assert.equal(pipes, 1);
      else assert.deepEqual([pipes, chunks], [0, 1]);
    },
  };
}

async function connectTo({ host, port }: FarmMember): Promise<TLSSocket> {
  const { ca } = await testFiles();
  const options = { host, port, ca, servername: 'localhost', allowHalfOpen: true };
  const socket = connect(options);
  await once(socket, 'secureConnect');
  return socket;
}

/** A prime: no buffer is a multiple of it. */
const PERIOD = 251;
const periods: Buffer = pattern(0, PERIOD + MIB);

function patternAt(from: number, length: number): Buffer {
  const start = from % PERIOD;
  return periods.subarray(start, start + length);
}
