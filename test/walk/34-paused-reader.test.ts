/** A client that stops reading for a while is alive: TCP_USER_TIMEOUT counts a closed window too. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { DEFAULT_TIMEOUTS } from '../../config/defaults.ts';
import { startTerminator } from './farm.ts';
import { pattern, startOrigin } from './origin.ts';
import { connectTls13 } from './tls13-client.ts';

/** More than the kernel's buffers of both connections: the pause is felt by the origin. */
const BYTES = 12 << 20;
/** The kernel looks at TCP_USER_TIMEOUT when it probes a closed window, after 0.2, 0.6, 1.4, 3 s. */
const PAUSE_MS = 3_500;

test('by default a peer is not given up for silence before the connection is for idleness', () => {
  assert.ok(DEFAULT_TIMEOUTS.tcpUserTimeoutMs >= DEFAULT_TIMEOUTS.idleTimeoutMs);
});

test('a client that pauses for a few seconds gets every byte, unless --tcp-user-timeout is less', async (t) => {
  const [generous, byDefault, strict] = await Promise.all([
    download(t, ['--tcp-user-timeout', '60s', '--idle-timeout', '60s']),
    download(t, []),
    download(t, ['--tcp-user-timeout', '1s']),
  ]);
  const whole = { bytes: BYTES, closeNotify: true, ending: 'fin' };
  assert.deepEqual(generous, whole);
  assert.deepEqual(byDefault, whole);
  // The pause is long enough to be told from none.
  assert.ok(strict.bytes < BYTES && !strict.closeNotify, JSON.stringify(strict));
});

async function download(
  t: TestContext,
  flags: readonly string[],
): Promise<{ bytes: number; closeNotify: boolean; ending: string }> {
  const origin = await startOrigin(t, { kind: 'source', bytes: BYTES });
  const terminator = await startTerminator(t, origin.address, ['--workers', '1', ...flags]);
  const client = await connectTls13({ port: terminator.port });
  let bytes = 0;
  client.on('data', (chunk) => {
    assert.ok(chunk.equals(pattern(bytes, chunk.length)), `another byte after ${bytes}`);
    bytes += chunk.length;
  });
  client.write('go on');
  await once(client, 'data');
  client.socket.pause();
  await delay(PAUSE_MS);
  client.socket.resume();
  const ending = await client.ended();
  client.socket.destroy();
  return { bytes, closeNotify: client.closeNotify, ending };
}
