/** How connections end: in one direction, in both, in order or not; each side learns what happened. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { connect } from 'node:tls';
import { atRest, rise } from './at-rest.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { connectTls13 } from './tls13-client.ts';

/** What the origin's side of a connection has seen. */
class OriginSide {
  readonly socket: Socket;
  bytes = 0;
  /** Resolves with the end of the client's direction. */
  readonly ended: Promise<'fin' | 'reset'>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
    });
    this.ended = new Promise((resolve) => {
      socket.once('end', () => resolve('fin'));
      socket.once('error', () => resolve('reset'));
    });
  }
}

const LATE = 300_000;

const file: Cleanup = { after: (close) => after(() => void close()) };
let arrived: (side: OriginSide) => void = () => {};
const origin = await startOrigin(file, {
  kind: 'custom',
  serve: (socket) => arrived(new OriginSide(socket)),
});
const terminator = await startTerminator(file, origin.address, ['--workers', '1']);
const balancer = await startBalancer(file, [terminator.address]);

/** The next connection that reaches the origin. */
function nextAtOrigin(): Promise<OriginSide> {
  return new Promise((resolve) => {
    arrived = resolve;
  });
}

for (const { where, member } of [
  { where: 'at a terminator', member: terminator },
  { where: 'through a balancer', member: balancer },
]) {
  describe(where, () => {
    const { port } = member;
    const look = async () => {
      const balancing = await atRest(balancer);
      return { balancing, terminating: await atRest(terminator) };
    };

    test('a client that has said everything still gets its answer', async () => {
      for (const sayGoodbye of ['end', 'sendCloseNotify'] as const) {
        const before = await look();
        const coming = nextAtOrigin();
        const client = await connectTls13({ port });
        const side = await coming;
        client.write(Buffer.alloc(LATE));
        // close_notify with a FIN, and without one.
        client[sayGoodbye]();
        assert.equal(await side.ended, 'fin');
        assert.equal(side.bytes, LATE);
        side.socket.end(Buffer.alloc(10 * LATE));
        assert.equal(await client.ended(), 'fin');
        assert.equal(client.receivedBytes, 10 * LATE);
        assert.equal(client.closeNotify, true);
        client.socket.end();
        const { balancing, terminating } = await look();
        assert.equal(rise(before.terminating, terminating, 'closeNotifyByClient'), 1);
        assert.equal(rise(before.terminating, terminating, 'closedClean'), 1);
        if (member === balancer) assert.equal(rise(before.balancing, balancing, 'closedClean'), 1);
      }
    });

    test("node's client gets an answer after its end too", async () => {
      const coming = nextAtOrigin();
      const { ca } = await testFiles();
      const options = { port, ca, servername: 'localhost', allowHalfOpen: true };
      const client = connect({ host: '127.0.0.1', ...options });
      let text = '';
      client.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      client.end('question');
      const side = await coming;
      assert.equal(await side.ended, 'fin');
      side.socket.end('answer');
      await once(client, 'end');
      assert.equal(text, 'answer');
      await look();
    });

    test('an origin that has said everything still hears the client out', async () => {
      const before = await look();
      const coming = nextAtOrigin();
      const client = await connectTls13({ port });
      const side = await coming;
      client.write('question');
      side.socket.end('answer');
      assert.equal(await client.ended(), 'fin');
      assert.equal(client.text(), 'answer');
      assert.equal(client.closeNotify, true);
      client.write(Buffer.alloc(LATE));
      client.end();
      assert.equal(await side.ended, 'fin');
      assert.equal(side.bytes, 'question'.length + LATE);
      const { terminating } = await look();
      assert.equal(rise(before.terminating, terminating, 'closedClean'), 1);
    });

    test('a client that stops without close_notify is a reset for the origin, and counted', async () => {
      const before = await look();
      const coming = nextAtOrigin();
      const client = await connectTls13({ port });
      const side = await coming;
      client.write('half a quest');
      client.endWithoutCloseNotify();
      assert.equal(await side.ended, 'reset');
      assert.equal(await client.ended(), 'reset');
      const { terminating } = await look();
      assert.equal(rise(before.terminating, terminating, 'truncatedByClient'), 1);
      assert.equal(rise(before.terminating, terminating, 'closedClean'), 0);
    });

    test('a client that only closes after the last word of the origin loses nothing: a clean end', async () => {
      const before = await look();
      const coming = nextAtOrigin();
      const client = await connectTls13({ port });
      const side = await coming;
      side.socket.end('everything');
      assert.equal(await client.ended(), 'fin');
      client.endWithoutCloseNotify();
      assert.equal(await side.ended, 'fin');
      const { terminating } = await look();
      assert.equal(rise(before.terminating, terminating, 'truncatedByClient'), 0);
      assert.equal(rise(before.terminating, terminating, 'closedClean'), 1);
    });

    test('a client that resets is a reset for the origin, and counted', async () => {
      const before = await look();
      const coming = nextAtOrigin();
      const client = await connectTls13({ port });
      const side = await coming;
      client.reset();
      assert.equal(await side.ended, 'reset');
      const { balancing, terminating } = await look();
      assert.equal(rise(before.terminating, terminating, 'clientReset'), 1);
      if (member === balancer) assert.equal(rise(before.balancing, balancing, 'clientReset'), 1);
    });

    test('an origin that resets is a reset for the client, never a clean end', async () => {
      const before = await look();
      const coming = nextAtOrigin();
      const client = await connectTls13({ port });
      const side = await coming;
      side.socket.write('half an ans');
      await client.receives('half an ans'.length);
      side.socket.resetAndDestroy();
      assert.equal(await client.ended(), 'reset');
      assert.equal(client.closeNotify, false);
      assert.equal(client.text(), 'half an ans');
      const { balancing, terminating } = await look();
      assert.equal(rise(before.terminating, terminating, 'upstreamReset'), 1);
      if (member === balancer)
        assert.equal(rise(before.balancing, balancing, 'terminatorReset'), 1);
    });
  });
}
