/**
 * `node native/test/run.mjs [part of a name] [seed]`
 *
 * Builds every `*_harness.cc` beside this file with the address and undefined-behaviour sanitizers
 * and runs it. What a harness needs besides itself stands in its first lines:
 *
 *     // sources: session_table.cc          files of native/src, linked with it
 *     // libraries: -l:libcrypto.so.3       for the linker; headers are those that Node ships
 *
 * Needs g++ only. A failure prints the seed that repeats it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const source = join(here, '../src');
const nodeHeaders = join(here, `../../node_modules/node-linux-${process.arch}/include/node`);

const flags = [
  '-std=c++20',
  '-O1',
  '-g',
  '-Wall',
  '-Wextra',
  '-fno-exceptions',
  '-fsanitize=address,undefined',
  '-fno-sanitize-recover=all',
  '-fno-omit-frame-pointer',
  '-pthread',
  // No -I for native/src (harnesses write "../src/…"): its limits.h is not the system's.
  '-isystem',
  nodeHeaders,
];

const [filter = '', ...seed] = process.argv.slice(2);
const harnesses = readdirSync(here).filter(
  (file) => file.endsWith('_harness.cc') && file.includes(filter),
);
if (harnesses.length === 0) {
  process.stderr.write(`no harness matches ${filter}\n`);
  process.exit(1);
}

const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-harness-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

for (const file of harnesses) {
  const text = readFileSync(join(here, file), 'utf8');
  const sources = listed(text, 'sources').map((name) => join(source, name));
  const program = join(folder, file.replace('.cc', ''));
  const libraries = listed(text, 'libraries');
  run('g++', [...flags, '-o', program, join(here, file), ...sources, ...libraries]);
  run(program, seed);
}

function listed(text, what) {
  return (
    text
      .match(new RegExp(`^// ${what}: (.*)$`, 'm'))?.[1]
      .trim()
      .split(/\s+/) ?? []
  );
}

function run(command, args) {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error) process.stderr.write(`${command}: ${error.message}\n`);
  if (status === 0) return;
  if (signal) process.stderr.write(`${command}: ${signal}\n`);
  process.exit(1);
}
