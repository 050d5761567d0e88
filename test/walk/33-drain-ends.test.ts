/** The last connection of a leaving son may end anywhere in a turn of its loop: then it goes, at once. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuMs } from './at-rest.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { startOrigin } from './origin.ts';
import { RawClient, recordedHello } from './raw-client.ts';
import { connectTls13 } from './tls13-client.ts';

const OK = { status: 0, signal: null };
const DRAINING = ['--workers', '1', '--drain-timeout', '20s'];
/** Processes end in a fraction of a second, and nothing else wakes a quiet son up so soon. */
const PROMPTLY_MS = 2_500;
/** Of what is looked for until it is there. */
const LIMIT = { timeout: 60_000 };
/** So many bytes teach the kernel to give a connection large buffers. */
const WARM_UP = 30_000_000;

test(
  'a terminator leaves when its last connection ends, not at --drain-timeout',
  LIMIT,
  async (t) => {
    const upstream = await startUpstream(t);
    const terminator = await startTerminator(t, upstream.address, DRAINING);
    const client = await connectTls13({ port: terminator.port });
    client.on('data', () => {});
    client.write('warm up');
    await client.receives(WARM_UP);
    // Its own direction is over, so that the end of the answer is the end of the connection.
    client.sendCloseNotify();
    await upstream.clientEnded;
    // More than a terminator moves for one connection at a time (256 KiB), less than twice as much.
    const words = 400_000;
    const tookMs = await leaves(terminator, await upstream.socket, words, client.ended());
    t.diagnostic(`${tookMs.toFixed(0)} ms`);
    assert.equal(client.receivedBytes, WARM_UP + words);
    assert.deepEqual([client.ending, client.closeNotify], ['fin', true]);
    client.socket.destroy();
    assert.ok(tookMs < PROMPTLY_MS, `the process has left after ${tookMs} ms`);
  },
);

test(
  'a balancer leaves when its last connection ends, not at --drain-timeout',
  LIMIT,
  async (t) => {
    const terminator = await startUpstream(t);
    const balancer = await startBalancer(t, [terminator.address], DRAINING);
    const client = await RawClient.open(balancer.port);
    let received = 0;
    const warm = new Promise<void>((resolve) => {
      client.socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
        if (received === WARM_UP) resolve();
      });
    });
    client.write(recordedHello('node24-tls13'));
    await warm;
    client.end();
    await terminator.clientEnded;
    // More than a balancer moves for one connection at a time (1 MiB), less than twice as much.
    const words = 1_600_000;
    const tookMs = await leaves(balancer, await terminator.socket, words, client.ended());
    t.diagnostic(`${tookMs.toFixed(0)} ms`);
    assert.deepEqual([client.ending, received], ['fin', WARM_UP + words]);
    assert.ok(tookMs < PROMPTLY_MS, `the process has left after ${tookMs} ms`);
  },
);

/** How long the process is still there when its last connection has got the last words. */
async function leaves(
  member: FarmMember,
  upstream: Socket,
  words: number,
  over: Promise<unknown>,
): Promise<number> {
  // Not stats(): what a question leaves to do in the son would wake it up later.
  const { sonPids } = await member.waitFor('listening', { since: 0 });
  const [son] = sonPids as readonly number[];
  if (son === undefined) throw new Error('no son');
  member.signal('SIGTERM');
  await refused(member);
  await quiet(son);
  // All of it has to be there at once: what comes in pieces is passed on in pieces.
  process.kill(son, 'SIGSTOP');
  upstream.end(Buffer.alloc(words));
  await once(upstream, 'finish');
  process.kill(son, 'SIGCONT');
  await over;
  const from = performance.now();
  assert.deepEqual(await member.exited, OK);
  return performance.now() - from;
}

/** What V8 puts off (garbage, code) wakes a loop up as well: wait until the son has slept for a second. */
async function quiet(pid: number): Promise<void> {
  for (let before = -1, now = cpuMs(pid); now !== before; now = cpuMs(pid)) {
    before = now;
    await delay(1_000);
  }
}

interface Upstream {
  readonly address: string;
  /** Of the only connection. */
  readonly socket: Promise<Socket>;
  readonly clientEnded: Promise<void>;
}

/** Answers the first byte with the warm-up, and leaves the rest to the test. */
async function startUpstream(t: TestContext): Promise<Upstream> {
  const socket = Promise.withResolvers<Socket>();
  const ended = Promise.withResolvers<void>();
  const { address } = await startOrigin(t, {
    kind: 'custom',
    serve: (accepted) => {
      socket.resolve(accepted);
      accepted.once('data', () => accepted.write(Buffer.alloc(WARM_UP)));
      accepted.once('end', ended.resolve);
    },
  });
  return { address, socket: socket.promise, clientEnded: ended.promise };
}

/** There is no event for a socket of somebody else's that is shut: try. */
async function refused({ host, port }: FarmMember): Promise<void> {
  for (;;) {
    const socket = connect({ host, port });
    try {
      await once(socket, 'connect');
    } catch {
      return;
    } finally {
      socket.destroy();
    }
    await delay(10);
  }
}
