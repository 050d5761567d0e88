import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../../native/test/', import.meta.url));
const compiler = spawnSync('g++', ['--version']).status === 0;

for (const file of readdirSync(folder).filter((name) => name.endsWith('_harness.cc'))) {
  test(`under sanitizers: ${file}`, { skip: compiler ? false : 'needs g++' }, () => {
    // The sanitizers of `npm test -- --sanitize` are preloaded; these programs bring their own.
    const { LD_PRELOAD: _, ...env } = process.env;
    const { status, stdout, stderr } = spawnSync(process.execPath, [`${folder}run.mjs`, file], {
      encoding: 'utf8',
      env,
    });
    assert.equal(status, 0, `${stdout}\n${stderr}`);
  });
}
