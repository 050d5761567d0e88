/** Debian packages for the tests: installed when we may, otherwise named in one line to run. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { withLock } from '../cli/setup/lock.mjs';
import { SetupError } from '../cli/setup/setup-error.mjs';
import { runStep } from '../cli/setup/step.mjs';

const listsFolder = '/var/lib/apt/lists';
const startPolicy = '/usr/sbin/policy-rc.d';

/** @param {Record<string, string>} packages name → why */
export async function installPackages(packages) {
  if (missingFrom(packages).length === 0) return;
  await withLock(async () => {
    const missing = missingFrom(packages);
    if (missing.length > 0) await install(missing, packages);
  });
}

async function install(missing, packages) {
  const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0) {
    const reasons = missing.map((name) => `  ${name}: ${packages[name]}`).join('\n');
    throw new SetupError(
      'TEST_PACKAGES',
      `the tests need Debian packages that are not installed:\n${reasons}\nRun \`sudo apt-get update && sudo ${line}\`.`,
    );
  }
  const restorePolicy = startNoServices();
  try {
    if (!hasLists()) await update();
    try {
      await aptInstall(missing, line);
    } catch {
      // Old lists name versions that the mirror no longer has.
      await update();
      await aptInstall(missing, line);
    }
  } finally {
    restorePolicy();
  }
}

async function aptInstall(missing, line) {
  const args = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '--no-install-recommends'];
  await apt(`installing Debian packages ${missing.join(', ')}`, [...args, ...missing], line);
}

async function update() {
  await apt('updating the Debian package lists', ['update'], 'apt-get update');
}

async function apt(title, args, line) {
  await runStep(title, 'apt-get', args, {
    cwd: '/',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    whatToDo: () => `Fix what apt reports and run \`${line}\`.`,
  });
}

/** The tests start their own servers; a fresh nginx on port 80 is nobody's wish. */
function startNoServices() {
  if (existsSync(startPolicy)) return () => {};
  const remove = () => rmSync(startPolicy, { force: true });
  writeFileSync(startPolicy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  process.on('exit', remove);
  return () => {
    process.off('exit', remove);
    remove();
  };
}

function missingFrom(packages) {
  const names = Object.keys(packages);
  const query = spawnSync(
    'dpkg-query',
    ['-W', '-f', '${Package} ${db:Status-Status}\n', ...names],
    {
      encoding: 'utf8',
    },
  );
  if (query.error !== undefined) {
    throw new SetupError(
      'TEST_PACKAGES',
      `the tests know Debian's packages, and dpkg-query cannot be run (${query.error.code}). Run them on Debian or in a Debian container.`,
    );
  }
  const installed = new Set(
    query.stdout
      .split('\n')
      .filter((row) => row.endsWith(' installed'))
      .map((row) => row.split(' ')[0]),
  );
  return names.filter((name) => !installed.has(name));
}

function hasLists() {
  return (
    existsSync(listsFolder) && readdirSync(listsFolder).some((name) => name.includes('Packages'))
  );
}
