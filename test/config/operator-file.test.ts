import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import {
  makeOperatorFolder,
  readOperatorFile,
  readSecretFile,
  replaceOperatorFile,
  writeOperatorFile,
} from '../../config/operator-file.ts';

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'tlsfarm-file-'));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

const mode = (path: string): number => statSync(path).mode & 0o777;

test('a file that is missing, or a folder, is named with its flag', (t) => {
  const at = folder(t);
  assert.throws(() => readOperatorFile('--cert x', join(at, 'x')), {
    code: 'file-missing',
    message: '--cert x does not exist: check the path and its folder.',
  });
  assert.throws(() => readOperatorFile('--cert x', at), { code: 'file-is-folder' });
});

test('a secret that group or others may touch in any way is refused, with the chmod', (t) => {
  const path = join(folder(t), 'secret');
  writeFileSync(path, 'text', { mode: 0o600 });
  assert.equal(readSecretFile('secret', path), 'text');
  for (const open of [0o640, 0o604, 0o620, 0o601, 0o666]) {
    chmodSync(path, open);
    assert.throws(
      () => readSecretFile('secret', path),
      (error: Error & { code: string }) =>
        error.code === 'secret-file-mode' && error.message.includes(`chmod 600 ${path}`),
    );
  }
  chmodSync(path, 0o400);
  assert.equal(readSecretFile('secret', path), 'text');
});

test('a new file is private and never replaces one unless forced', (t) => {
  const path = join(folder(t), 'new');
  writeOperatorFile('--out new', path, 'one');
  assert.equal(mode(path), 0o600);
  assert.throws(() => writeOperatorFile('--out new', path, 'two'), { code: 'file-exists' });
  assert.equal(readFileSync(path, 'utf8'), 'one');
  writeOperatorFile('--out new', path, 'two', { force: true, mode: 0o644 });
  assert.equal(readFileSync(path, 'utf8'), 'two');
  assert.equal(mode(path), 0o644);
});

test('a replacement that fails leaves the old file and nothing beside it', (t) => {
  const at = folder(t);
  const path = join(at, 'folder-in-the-way');
  makeOperatorFolder('--out', path);
  assert.throws(() => replaceOperatorFile('--out', path, 'text'));
  assert.deepEqual(readdirSync(at), ['folder-in-the-way']);
});

test('a folder whose name is a file is refused', (t) => {
  const path = join(folder(t), 'file');
  writeFileSync(path, '');
  assert.throws(() => makeOperatorFolder('--out', path), { code: 'folder-unusable' });
});
