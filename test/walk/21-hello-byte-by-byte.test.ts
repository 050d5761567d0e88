/** Hellos of the largest size and in the smallest pieces. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { visit } from '../../cli/visit.ts';
import { atRest, cpuMs, median, rise } from './at-rest.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { RawClient, startTrickle } from './raw-client.ts';
import { connectTls13, helloBytes } from './tls13-client.ts';

const KIB_32 = 32_768;
const KIB_64 = 65_536;

const file: Cleanup = { after: (close) => after(() => void close()) };
const origin = await startOrigin(file, { kind: 'page', name: 'origin' });
const terminator = await startTerminator(file, origin.address, ['--workers', '1']);
const balancer = await startBalancer(file, [terminator.address]);

test('real clients whose hellos arrive byte by byte are served', async (t) => {
  const { ca } = await testFiles();
  const bytes = { pieceBytes: 1, pauseMs: 0, slowBytes: 2_000 };
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const port = await startTrickle(t, balancer.port, bytes);
    const to = { host: '127.0.0.1', port, ca, client: null, session: null };
    const { error, protocol, body } = await visit({ ...to, version });
    assert.equal(error, null);
    assert.equal(protocol, version);
    assert.match(body, /origin/);
  }
});

test('a hello of exactly 65,536 bytes with record headers is served', async () => {
  for (const recordBytes of [16_384, 1_000, 100]) {
    const before = await balancer.stats();
    const client = await connectTls13({ port: balancer.port, rawBytes: KIB_64, recordBytes });
    assert.equal(client.hello.length, KIB_64);
    client.write('GET / HTTP/1.1\r\n\r\n');
    await client.ended();
    client.end();
    assert.match(client.text(), /^HTTP\/1.1 200 /);
    const stats = await atRest(balancer);
    assert.equal(rise(before, stats, 'helloWhole'), 1);
    assert.equal(rise(before, stats, 'answered'), 1);
  }
});

test('one byte more is closed without a word and counted', async () => {
  for (const recordBytes of [16_384, 1_000, 100]) {
    const before = await balancer.stats();
    const hello = helloBytes({ rawBytes: KIB_64 + 1, recordBytes });
    assert.equal(hello.length, KIB_64 + 1);
    const client = await RawClient.open(balancer.port);
    client.write(hello);
    const { bytes } = await client.ended();
    assert.equal(bytes.length, 0);
    const stats = await atRest(balancer);
    assert.equal(rise(before, stats, 'helloTooLarge'), 1);
    assert.equal(rise(before, stats, 'connects'), 0);
  }
});

test('a hello that says it is larger than that is closed as soon as it has said so', async () => {
  const before = await balancer.stats();
  const client = await RawClient.open(balancer.port);
  // A ClientHello of 2^24 - 1 bytes.
  client.write(Uint8Array.of(22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff));
  const { bytes } = await client.ended();
  assert.equal(bytes.length, 0);
  assert.equal(rise(before, await atRest(balancer), 'helloTooLarge'), 1);
});

test('64 KiB byte by byte cost the balancer at most 2.5 times what 32 KiB cost', async (t) => {
  const [son] = await balancer.sonPids();
  if (son === undefined) throw new Error('no son');
  const cost = async (rawBytes: number): Promise<number> => {
    const before = cpuMs(son);
    const client = await connectTls13({ port: balancer.port, rawBytes, send: byteByByte });
    client.reset();
    await atRest(balancer);
    return cpuMs(son) - before;
  };
  // How many bytes a wake-up finds depends on what else the machine does: neighbours in time are
  // compared, and a bad moment gets a second and a third chance. A square would fail every time.
  let ratio = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3 && ratio > 2.5; round++) {
    const ratios: number[] = [];
    for (let i = 0; i < 5; i++) {
      const small = await cost(KIB_32);
      const large = await cost(KIB_64);
      ratios.push(large / small);
    }
    ratio = median(ratios);
    t.diagnostic(`${ratio.toFixed(2)} times (${ratios.map((each) => each.toFixed(2)).join(', ')})`);
  }
  assert.ok(ratio <= 2.5, `${ratio.toFixed(2)} times`);
});

/** Each byte is a segment of its own, and the balancer has the time to read it. */
async function byteByByte(socket: Socket, hello: Buffer): Promise<void> {
  for (let at = 0; at < hello.length; at++) {
    socket.write(hello.subarray(at, at + 1));
    await turn();
  }
}
