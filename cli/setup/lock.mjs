/**
 * One setup at a time per folder. A lock is a directory, because creating one is atomic; its owner
 * renews it while it works, so that a lock left by a killed process is recognised by its age (or at
 * once, when the process was on this machine and is gone).
 */
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './root.mjs';
import { SetupError } from './setup-error.mjs';

const folder = join(root, '.tlsfarm');
const lock = join(folder, 'setup.lock');
const ownerFile = join(lock, 'owner.json');
const renewEveryMs = 2000;
const staleAfterMs = 30_000;
const retryEveryMs = 200;

/**
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(work) {
  await acquire();
  const renewal = setInterval(renew, renewEveryMs);
  process.on('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    process.off('exit', release);
    release();
  }
}

async function acquire() {
  let told = false;
  while (!tryCreate(lock)) {
    if (isStale()) {
      removeStale();
      continue;
    }
    if (!told) {
      told = true;
      process.stderr.write(
        `setup: waiting for another setup (process ${readOwner()?.pid ?? '?'})\n`,
      );
    }
    await sleep(retryEveryMs);
  }
  const start = processStart(process.pid);
  writeFileSync(ownerFile, JSON.stringify({ pid: process.pid, start, host: hostname() }));
}

function release() {
  rmSync(lock, { recursive: true, force: true });
}

function renew() {
  const now = new Date();
  try {
    utimesSync(lock, now, now);
  } catch {
    // Somebody has removed the lock by hand; the work itself is not harmed.
  }
}

function tryCreate(path) {
  try {
    mkdirSync(folder, { recursive: true });
    mkdirSync(path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw new SetupError(
      'SETUP_FOLDER',
      `something has to be installed or built, and ${root} cannot be written (${error.code}). Run the command once as the folder's owner.`,
    );
  }
}

function isStale() {
  const age = ageMs(lock);
  if (age === null) return false;
  if (age > staleAfterMs) return true;
  const owner = readOwner();
  if (owner === null || owner.host !== hostname()) return false;
  return processStart(owner.pid) !== owner.start;
}

/** Of several waiters that found the lock stale, only one may remove it: a guard, and a second look. */
function removeStale() {
  const guard = `${lock}.removal`;
  if (!tryCreate(guard)) {
    if ((ageMs(guard) ?? 0) > staleAfterMs) rmSync(guard, { recursive: true, force: true });
    return;
  }
  try {
    if (isStale()) release();
  } finally {
    rmSync(guard, { recursive: true, force: true });
  }
}

function ageMs(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return null;
  }
}

function readOwner() {
  try {
    return JSON.parse(readFileSync(ownerFile, 'utf8'));
  } catch {
    return null;
  }
}

/** When a process began (field 22 of proc_pid_stat(5)): tells it from a later one with its number. */
function processStart(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
