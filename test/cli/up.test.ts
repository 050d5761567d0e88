/** The farm in one command: as promised, and nothing left behind however it ends. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { visit } from '../../cli/visit.ts';
import { run, startUp } from '../walk/farm.ts';

const PROGRAM = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

/** Living processes of a process group, without zombies. */
function livingIn(group: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return Number(pgrp) === group && state !== 'Z';
      } catch {
        return false;
      }
    })
    .map(Number);
}

test('the tour is as promised: both versions, full and resumed, both terminators', async () => {
  const { status, stdout, stderr } = await run(['up', '--listen', '127.0.0.1:0', '--tour-only']);
  assert.equal(stderr, '');
  assert.equal(status, 0, stdout);
  for (const row of [
    /TLS 1\.2 full .* TLSv1\.2 .* full /,
    /TLS 1\.2 resumed by session ID .* TLSv1\.2 .* resumed /,
    /TLS 1\.3 full .* TLSv1\.3 .* full /,
    /TLS 1\.3 resumed .* TLSv1\.3 .* resumed /,
    /terminator one\./,
    /terminator two\./,
  ]) {
    assert.match(stdout, row);
  }
});

test('it serves until Ctrl-C, which ends every process and removes the folder', async (t) => {
  const up = await startUp(t);
  const folder = dirnameOf(/--cacert (\S+)\/ca\.crt/.exec(up.text()));
  const ca = readFileSync(join(folder, 'ca.crt'), 'utf8');
  const { host, port } = up;
  const seen = await visit({ host, port, ca, version: 'TLSv1.3', client: null, session: null });
  assert.equal(seen.error, null);
  // A terminal sends it to the whole group.
  process.kill(-up.pid, 'SIGINT');
  assert.deepEqual(await up.exited, { status: 0, signal: null });
  assert.deepEqual(livingIn(up.pid), []);
  assert.equal(existsSync(folder), false);
});

test('--dir keeps certificates, secret and logs, and uses them again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-up-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const args = ['up', '--listen', '127.0.0.1:0', '--tour-only', '--dir', folder];
  assert.equal((await run(args)).status, 0);
  const kept = readFileSync(join(folder, 'ca.crt'), 'utf8');
  assert.equal((await run(args)).status, 0);
  assert.equal(readFileSync(join(folder, 'ca.crt'), 'utf8'), kept);
  assert.ok(existsSync(join(folder, 'balancer.log')));
});

test('a part that dies takes the farm down with a message', async (t) => {
  const up = await startUp(t);
  const fathers = livingIn(up.pid).filter((pid) => pid !== up.pid && isFather(pid));
  assert.equal(fathers.length, 3);
  process.kill(fathers[0] ?? 0, 'SIGKILL');
  const { status } = await up.exited;
  assert.equal(status, 1);
  assert.match(up.text(), /ended \(signal SIGKILL\)/);
  // The sons of the killed father go by themselves, when they have drained.
  for (let patience = 0; livingIn(up.pid).length > 0 && patience < 500; patience++) await sleep(10);
  assert.deepEqual(livingIn(up.pid), []);
});

describe('Ctrl-C at any moment of the bring-up leaves nothing', () => {
  for (const delayMs of [30, 100, 200, 350, 500, 700, 900, 1_200]) {
    test(`${delayMs} ms after the start`, async () => {
      const child = spawn(process.execPath, [PROGRAM, 'up', '--listen', '127.0.0.1:0'], {
        stdio: 'ignore',
        detached: true,
      });
      const group = child.pid ?? 0;
      const exited = new Promise((resolve) => child.once('exit', resolve));
      await sleep(delayMs);
      process.kill(-group, 'SIGINT');
      await exited;
      for (let patience = 0; livingIn(group).length > 0 && patience < 100; patience++) {
        await sleep(10);
      }
      const left = livingIn(group);
      for (const pid of left) process.kill(pid, 'SIGKILL');
      assert.deepEqual(left, []);
    });
  }
});

function isFather(pid: number): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('main.ts');
}

function dirnameOf(found: RegExpExecArray | null): string {
  assert.ok(found?.[1] !== undefined);
  return found[1];
}
