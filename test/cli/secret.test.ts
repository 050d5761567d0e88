import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseRoutingSecret } from '../../config/routing-key.ts';
import { run } from '../walk/farm.ts';

const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-secret-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'routing.key');
const epochs = (): string[] =>
  parseRoutingSecret(readFileSync(path, 'utf8')).epochs.map(
    ({ epoch, secret }) => `${epoch} ${Buffer.from(secret).toString('hex')}`,
  );

test('a new secret is private, has one epoch, and is not printed', async () => {
  const { status, stdout, stderr } = await run(['secret', 'routing', '--out', path]);
  assert.equal(status, 0);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const [only = ''] = epochs();
  assert.match(only, /^0 [0-9a-f]{64}$/);
  assert.ok(!`${stdout}${stderr}`.includes(only.slice(2)));
});

test('--add puts a new epoch first, keeps the one before, and leaves nothing beside it', async () => {
  const [before] = epochs();
  const { status, stdout } = await run(['secret', 'routing', '--out', path, '--add']);
  assert.equal(status, 0);
  const [first = '', second] = epochs();
  assert.match(first, /^1 /);
  assert.equal(second, before);
  assert.ok(!stdout.includes(first.slice(2)));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ['routing.key']);
});

test('--force replaces it', async () => {
  const before = epochs();
  assert.equal((await run(['secret', 'routing', '--out', path])).status, 2);
  assert.deepEqual(epochs(), before);
  assert.equal((await run(['secret', 'routing', '--out', path, '--force'])).status, 0);
  assert.equal(epochs().length, 1);
});
