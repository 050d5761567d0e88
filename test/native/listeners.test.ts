import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { native } from '../../native/index.ts';
import { listenError, openListeners } from '../../native/listeners.ts';

const LOCAL = { host: '127.0.0.1', port: 0 };

test('port 0: the first socket decides, all slots share it', async () => {
  const listeners = await openListeners(native, LOCAL, 3, 16);
  assert.equal(new Set(listeners.fds).size, 3);
  assert.ok('port' in listeners.address && listeners.address.port > 0);
  listeners.close();
  listeners.close();
});

test('a port that a farm of the same user holds is refused all the same', async (t) => {
  const first = await openListeners(native, LOCAL, 2, 16);
  t.after(() => first.close());
  await assert.rejects(openListeners(native, first.address, 2, 16), {
    code: 'listen-in-use',
    message: /^--listen 127\.0\.0\.1:\d+ is already in use: .*choose another address\.$/,
  });
});

test('a port that has become free is taken', async () => {
  const first = await openListeners(native, LOCAL, 2, 16);
  const { address } = first;
  first.close();
  const second = await openListeners(native, address, 2, 16);
  assert.deepEqual(second.address, address);
  second.close();
});

test('IPv6 works beside IPv4 on the same port', async (t) => {
  const four = createServer();
  await new Promise<void>((resolve) => four.listen({ host: '0.0.0.0', port: 0 }, resolve));
  t.after(() => four.close());
  const { port } = four.address() as AddressInfo;
  const six = await openListeners(native, { host: '::1', port }, 1, 16);
  six.close();
});

test('an address of another machine is an error with the fix', async () => {
  await assert.rejects(openListeners(native, { host: '192.0.2.1', port: 4433 }, 1, 16), {
    code: 'listen-not-local',
  });
});

test('sockets already open are closed when a later one fails', async () => {
  const closed: number[] = [];
  let next = 100;
  const door = {
    openListener: () => {
      if (next === 102) throw Object.assign(new Error('full'), { code: 'EMFILE' });
      return { fd: next++, port: 1234 };
    },
    closeFd: (fd: number) => void closed.push(fd),
  };
  await assert.rejects(openListeners(door, LOCAL, 3, 16), { code: 'EMFILE' });
  assert.deepEqual(closed, [100, 101]);
});

test('a unix socket: shared by all slots, a stale file is replaced, a foreign one is not', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-listen-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'socket');
  const first = await openListeners(native, { path }, 2, 16);
  assert.equal(first.fds[0], first.fds[1]);
  await assert.rejects(openListeners(native, { path }, 1, 16), { code: 'listen-in-use' });
  // As a killed process leaves it: the file without the socket.
  native.closeFd(first.fds[0] ?? -1);
  const second = await openListeners(native, { path }, 1, 16);
  second.close();
  assert.equal(existsSync(path), false);
  writeFileSync(path, 'not a socket');
  await assert.rejects(openListeners(native, { path }, 1, 16), { code: 'listen-in-use' });
  assert.ok(existsSync(path));
});

test('what the kernel says becomes a sentence; what it does not explain stays itself', () => {
  const error = (code: string): Error => Object.assign(new Error(code), { code });
  const code = (name: string): unknown =>
    (listenError(error(name), { host: '::1', port: 80 }) as { code: string }).code;
  assert.equal(code('EADDRINUSE'), 'listen-in-use');
  assert.equal(code('EACCES'), 'listen-forbidden');
  assert.equal(code('EAFNOSUPPORT'), 'listen-family');
  const strange = error('EIO');
  assert.equal(listenError(strange, { host: '::1', port: 80 }), strange);
});
