import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveAddress } from '../../config/resolve.ts';

test('literal addresses and paths pass as they are', async () => {
  for (const address of [
    { host: '127.0.0.1', port: 1 },
    { host: '::1', port: 2 },
    { path: '/x' },
  ]) {
    assert.deepEqual(await resolveAddress('--upstream', address), address);
  }
});

test('a name becomes an address', async () => {
  const found = await resolveAddress('--upstream', { host: 'localhost', port: 80 });
  assert.ok('host' in found && ['127.0.0.1', '::1'].includes(found.host));
});

test('a name that nobody knows is an error that names the flag', async () => {
  // RFC 6761: .invalid never resolves.
  await assert.rejects(resolveAddress('--upstream', { host: 'x.invalid', port: 80 }), {
    code: 'name-unresolved',
    message: /^--upstream x\.invalid:80: .* write its IP address\.$/,
  });
});
