/** That every mistake has its sentence is shown in test/cli; here is what a wrong start leaves behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { page } from '../../cli/demo-origin.ts';
import { startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { groupGone, groupIsAlive } from './processes.ts';
import { call } from './tls-client.ts';

const PROGRAM = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const PATIENCE_MS = 20_000;
const { folder, certFlags, routingKey } = await testFiles();
const file = (name: string): string => join(folder, name);

interface Started {
  readonly pid: number;
  readonly ended: Promise<{
    readonly status: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly stdout: string;
    readonly stderr: string;
    /** Whether a process of its group was left when it had ended. */
    readonly left: boolean;
  }>;
}

function startTlsfarm(t: Cleanup, args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const { NODE_TEST_CONTEXT: _context, TLSFARM_ROUTING_KEY_FILE: _key, ...own } = process.env;
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...own, ...env },
    detached: true,
  });
  const pid = child.pid ?? 0;
  t.after(() => {
    if (groupIsAlive(pid)) process.kill(-pid, 'SIGKILL');
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString('utf8');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8');
  });
  // What should have ended and serves instead must not keep the test waiting.
  const patience = setTimeout(() => process.kill(-pid, 'SIGKILL'), PATIENCE_MS);
  let left = false;
  child.once('exit', () => {
    clearTimeout(patience);
    left = groupIsAlive(pid);
  });
  const ended: Started['ended'] = new Promise((resolve) => {
    child.once('close', (status, signal) => resolve({ status, signal, stdout, stderr, left }));
  });
  return { pid, ended };
}

function terminator(listen: string, flags: readonly string[] = certFlags): string[] {
  return ['terminator', '--listen', listen, '--upstream', '127.0.0.1:9', ...flags];
}

/** A module that node loads before anything else, in sons only. */
function inSons(name: string, code: string): NodeJS.ProcessEnv {
  const path = file(`${name}.mjs`);
  writeFileSync(path, `if (/\\bson\\.[jt]s$/.test(process.argv[1] ?? '')) {\n${code}\n}\n`);
  return { NODE_OPTIONS: `--import ${pathToFileURL(path).href}` };
}

test('a port where another farm of the same user listens is refused, and it loses no client', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'first' });
  const first = await startTerminator(t, origin.address);
  const second = await startTlsfarm(t, terminator(first.address)).ended;
  assert.equal(second.status, 2);
  assert.match(second.stderr, /^tlsfarm: --listen \S+ is already in use: .+\n$/);
  assert.equal(second.left, false);
  for (let visit = 0; visit < 20; visit++) {
    assert.equal((await call(first)).body, page('first'));
  }

  // What the sentence advises.
  await first.stop();
  const third = await startTerminator(t, origin.address, ['--listen', first.address]);
  assert.equal((await call(third)).body, page('first'));
});

test('a unix socket in use is refused and left alone; one that a killed farm left behind is replaced', async (t) => {
  const path = file('held.sock');
  const origin = await startOrigin(t, { kind: 'page', name: 'unix' });
  const listen = ['--listen', `unix:${path}`];
  const first = await startTerminator(t, origin.address, listen);
  const second = await startTlsfarm(t, terminator(`unix:${path}`)).ended;
  assert.deepEqual([second.status, second.left], [2, false]);
  assert.match(second.stderr, /^tlsfarm: --listen unix:\S+ is already in use: .+\n$/);
  assert.equal((await call({ path })).body, page('unix'));

  await first.kill();
  assert.ok(lstatSync(path).isSocket());
  const third = await startTerminator(t, origin.address, listen);
  assert.equal((await call({ path })).body, page('unix'));
  await third.stop();
  assert.equal(existsSync(path), false);
});

test('a file where the unix socket should be is never removed', async (t) => {
  const path = file('precious');
  writeFileSync(path, 'precious');
  const { status, stderr } = await startTlsfarm(t, terminator(`unix:${path}`)).ended;
  assert.equal(status, 2);
  assert.match(stderr, /^tlsfarm: --listen unix:\S+ .+\n$/);
  assert.equal(readFileSync(path, 'utf8'), 'precious');
});

for (const [what, flags] of [
  ['a key of another certificate', ['--cert', file('rsa.crt'), '--key', file('ec.key')]],
  ['an unreadable certificate', ['--cert', file('nowhere.crt'), '--key', file('ec.key')]],
  ['an unreadable routing key', [...certFlags, '--routing-key-file', file('nowhere.key')]],
  ['a flag that does not exist', [...certFlags, '--routing', routingKey]],
] as const) {
  test(`${what}: exit 2, one sentence, no socket, no process`, async (t) => {
    const path = file('never.sock');
    const { status, stdout, stderr, left } = await startTlsfarm(
      t,
      terminator(`unix:${path}`, flags),
    ).ended;
    assert.match(stderr, /^tlsfarm: .+\n$/);
    assert.deepEqual([status, stdout, left], [2, '', false]);
    assert.equal(existsSync(path), false);
  });
}

for (const [what, code] of [
  ['exits', 'process.exit(3);'],
  ['is killed', "process.kill(process.pid, 'SIGKILL');"],
] as const) {
  test(`a son that ${what} before it serves: exit 2, one sentence, no socket, no process`, async (t) => {
    const path = file('sons.sock');
    // Slot 1 only: slot 0 may be serving already when the other one fails.
    const env = inSons(
      `son-${what.replaceAll(' ', '-')}`,
      `process.prependListener('message', (message) => {\nif (message.slot === 1) { ${code} }\n});`,
    );
    const { status, stderr, left } = await startTlsfarm(t, terminator(`unix:${path}`), env).ended;
    assert.match(stderr, /^tlsfarm: The terminator could not start: it ended at start .+\n$/);
    assert.deepEqual([status, left], [2, false]);
    assert.equal(existsSync(path), false);
  });
}

test('a signal before it serves ends it, and sons that have just begun', async (t) => {
  // Sons that take a second to begin: long enough to be met on the way.
  const env = inSons(
    'slow',
    'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);',
  );
  const { pid, ended } = startTlsfarm(t, terminator('127.0.0.1:0'), env);
  while (childrenOf(pid).length < 2) await delay(5);
  process.kill(pid, 'SIGTERM');
  const { signal, stdout } = await ended;
  assert.equal(signal, 'SIGTERM');
  assert.doesNotMatch(stdout, /"listening"/);
  await groupGone(pid, PATIENCE_MS);
});

function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean);
}
