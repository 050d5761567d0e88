/**
 * An upstream's last word, whole or not: what was broken off must never look complete to the client,
 * what is complete must arrive whole, however the two ends of the upstream's connection raced.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { atRest, count } from './at-rest.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { pattern, startOrigin } from './origin.ts';
import { RawClient, recordedHello } from './raw-client.ts';
import { connectTls13 } from './tls13-client.ts';

const ROUNDS = 2;
/** Of what is looked for until it is there. */
const LIMIT = { timeout: 60_000 };
const READY = 'ready';
const PARTIAL = 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npartial';

/** In the middle of an upload; how its connection ended, and what it could take it for. */
interface Uploader {
  upload(bytes: Buffer): void;
  ending(): Promise<string>;
}

test('an answer broken off in the middle of an upload ends without close_notify', async (t) => {
  const upstream = await startBreaking(t);
  const terminator = await startTerminator(t, upstream.address, ['--workers', '1']);
  for (let round = 0; round < ROUNDS; round++) {
    await breaksOff(t, upstream, terminator, () => tlsUploader(terminator.port));
  }
  assert.ok(count(await atRest(terminator), 'upstreamReset') > 0);
});

test('an answer broken off is one behind a balancer, too', async (t) => {
  const upstream = await startBreaking(t);
  const terminator = await startTerminator(t, upstream.address, ['--workers', '1']);
  const balancer = await startBalancer(t, [terminator.address]);
  for (let round = 0; round < ROUNDS; round++) {
    await breaksOff(t, upstream, terminator, () => tlsUploader(balancer.port));
  }
  assert.ok(count(await atRest(balancer), 'terminatorReset') > 0);
});

test('a terminator that breaks off in the middle of an upload is a reset to the client', async (t) => {
  const terminator = await startBreaking(t);
  const balancer = await startBalancer(t, [terminator.address]);
  for (let round = 0; round < ROUNDS; round++) {
    await breaksOff(t, terminator, balancer, () => rawUploader(balancer.port), 120);
  }
  assert.ok(count(await atRest(balancer), 'terminatorReset') > 0);
});

test(
  'a whole answer arrives whole, although its upstream resets what was left of the request',
  LIMIT,
  async (t) => {
    const accepted = Promise.withResolvers<Socket>();
    const { address } = await startOrigin(t, {
      kind: 'custom',
      serve: (socket) => {
        socket.once('data', () => {
          // It has decided on the answer, and reads no further.
          socket.pause();
          accepted.resolve(socket);
        });
      },
    });
    const terminator = await startTerminator(t, address, ['--workers', '1']);
    const client = await connectTls13({ port: terminator.port });
    let received = 0;
    client.on('data', (chunk) => {
      assert.ok(chunk.equals(pattern(received, chunk.length)), `another byte after ${received}`);
      received += chunk.length;
    });
    client.socket.pause();
    client.write(Buffer.alloc(1_000_000, 'u'));
    const upstream = await accepted.promise;
    const connection = portsOf(upstream);

    const length = await sendUntilTheClientBlocks(upstream);
    upstream.end();
    while (kernelSees(connection.ours)?.state !== FIN_WAIT2) await delay(10);
    const unread = kernelSees(connection.theirs)?.unread ?? 0;
    t.diagnostic(`${length} bytes; the terminator has still to read the last ${unread}`);
    assert.ok(unread > 0);
    assert.ok((kernelSees(connection.ours)?.unread ?? 0) > 0, 'it has read the whole request');
    upstream.destroy();
    await once(upstream, 'close');
    assert.equal(kernelSees(connection.ours), null, 'it did not reset');

    client.socket.resume();
    assert.equal(await client.ended(), 'fin');
    client.socket.destroy();
    assert.deepEqual([received, client.closeNotify], [length, true]);
    const stats = await atRest(terminator);
    assert.deepEqual([count(stats, 'closedClean'), count(stats, 'upstreamReset')], [1, 0]);
  },
);

/**
 * The resets come while the son is busy with one turn's uploads: it has asked the kernel for events
 * before them, and the error that they leave on a socket is first met by a send.
 */
async function breaksOff(
  t: TestContext,
  upstream: Breaking,
  member: FarmMember,
  open: () => Promise<Uploader>,
  /** Enough of them to keep a son busy while the resets come. */
  clients = 40,
): Promise<void> {
  const [son] = await member.sonPids();
  if (son === undefined) throw new Error('no son');
  const uploaders = await Promise.all(Array.from({ length: clients }, open));
  process.kill(son, 'SIGSTOP');
  for (const uploader of uploaders) uploader.upload(Buffer.alloc(256 * 1024, 'u'));
  // What the kernel takes of it.
  await new Promise(setImmediate);
  upstream.breakAllOffAtTheNextByte();
  process.kill(son, 'SIGCONT');
  const endings = await Promise.all(uploaders.map((uploader) => uploader.ending()));
  const seen: Record<string, number> = {};
  for (const ending of endings) seen[ending] = (seen[ending] ?? 0) + 1;
  t.diagnostic(JSON.stringify(seen));
  assert.deepEqual(Object.keys(seen), ['reset']);
}

async function tlsUploader(port: number): Promise<Uploader> {
  const client = await connectTls13({ port });
  client.write('hello');
  await client.receives(READY.length);
  return {
    upload: (bytes) => client.write(bytes),
    async ending() {
      await client.ended();
      client.socket.destroy();
      return client.closeNotify ? 'close_notify' : (client.ending ?? '');
    },
  };
}

async function rawUploader(port: number): Promise<Uploader> {
  const client = await RawClient.open(port);
  client.write(recordedHello('node24-tls13'));
  await client.answer();
  return {
    upload: (bytes) => client.write(bytes),
    ending: async () => (await client.ended()).ending,
  };
}

interface Breaking {
  readonly address: string;
  breakAllOffAtTheNextByte(): void;
}

/** Says that it is ready at the first byte of each connection. */
async function startBreaking(t: TestContext): Promise<Breaking> {
  const sockets = new Set<Socket>();
  let breaking = false;
  const { address } = await startOrigin(t, {
    kind: 'custom',
    serve: (socket) => {
      socket.once('data', () => {
        sockets.add(socket);
        socket.write(READY);
        socket.on('data', () => {
          if (!breaking) return;
          for (const each of sockets) {
            each.write(PARTIAL);
            each.resetAndDestroy();
          }
          sockets.clear();
          breaking = false;
        });
      });
    },
  });
  return {
    address,
    breakAllOffAtTheNextByte() {
      breaking = true;
    },
  };
}

const BLOCK = 64 * 1024;
const BLOCKED_MS = 300;

/**
 * How many bytes of the pattern were sent. There is no event for "nothing moves", and looking takes
 * long when thousands of closed connections are on the list: most of it is sent unseen.
 */
async function sendUntilTheClientBlocks(socket: Socket): Promise<number> {
  const { theirs } = portsOf(socket);
  let bytes = Math.floor(mostSendBufferBytes() * 0.75);
  socket.write(pattern(0, bytes));
  for (;;) {
    const until = performance.now() + BLOCKED_MS;
    do {
      if (performance.now() > until) return bytes;
      await delay(2);
    } while (socket.writableLength > 0 || kernelSees(theirs)?.unread !== 0);
    socket.write(pattern(bytes, BLOCK));
    bytes += BLOCK;
  }
}

/** The terminator's kernel takes about as much for a client that does not read. */
function mostSendBufferBytes(): number {
  return Number(readFileSync('/proc/sys/net/ipv4/tcp_wmem', 'latin1').split(/\s+/)[2]);
}

/** Both sockets of a connection within this machine, as /proc/net/tcp names them. */
function portsOf({ localPort, remotePort }: Socket): { ours: string; theirs: string } {
  const [local, remote] = [localPort, remotePort].map(
    (port) => `0100007F:${(port ?? 0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
  return { ours: `${local} ${remote}`, theirs: `${remote} ${local}` };
}

/** Linux's include/net/tcp_states.h: our FIN has been acknowledged, theirs has not come. */
const FIN_WAIT2 = 5;

/** Null when it is no more. */
function kernelSees(connection: string): { state: number; unread: number } | null {
  for (const line of readFileSync('/proc/net/tcp', 'latin1').split('\n')) {
    // sl, local_address, rem_address, st, tx_queue:rx_queue
    const [, local, remote, state, queues] = line.trim().split(/\s+/);
    if (`${local} ${remote}` !== connection) continue;
    const unread = Number.parseInt(queues?.split(':')[1] ?? '', 16);
    return { state: Number.parseInt(state ?? '', 16), unread };
  }
  return null;
}
