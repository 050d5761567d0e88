/**
 * npm dependencies, exactly as package-lock.json has them.
 *
 * npm leaves a record of what it installed in node_modules/.package-lock.json; it is written last,
 * so it is missing after an interrupted install. Comparing it with package-lock.json answers "is it
 * current?" better than a stamp of our own would: it also recognises an install done by hand.
 */
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './root.mjs';
import { runtimePackage } from './runtime.mjs';
import { SetupError } from './setup-error.mjs';
import { runStep } from './step.mjs';

/** @param {boolean} development whether packages that only tests and linters need count */
export function dependenciesAreCurrent(development) {
  const wanted = readPackages(join(root, 'package-lock.json'));
  // Published packages carry no lockfile: then npm has installed us together with what we need.
  if (wanted === null) return true;
  const installed = readPackages(join(root, 'node_modules/.package-lock.json'));
  if (installed === null) return false;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const found = installed[path];
    if (found === undefined) {
      // Other platforms' packages are absent by design; this platform's runtime must not be.
      const mayBeAbsent = (entry.optional || entry.devOptional) && !path.endsWith(runtimePackage);
      if (mayBeAbsent || (entry.dev && !development)) continue;
      return false;
    }
    if (found.version !== entry.version || found.integrity !== entry.integrity) return false;
  }
  return true;
}

/** @param {boolean} development */
export async function installDependencies(development) {
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--include=optional'];
  // NODE_ENV=production would leave them out.
  if (development) args.push('--include=dev');
  await runStep('installing npm dependencies', 'npm', args, {
    cwd: root,
    env: { ...process.env, PATH: pathWithoutProject() },
    // npm follows a complaint with pages of usage, indented or bare.
    isNoise: (line) => /^npm error($| {2}| Options:| Usage:| npm ci$| aliases:)/.test(line),
    whatToDo: (output) => {
      if (/ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET/.test(output)) {
        return 'The package registry is not reachable: check the network, a proxy, or `npm config get registry`.';
      }
      return `Fix what npm reports and run \`npm ${args.join(' ')}\`.`;
    },
  });
  if (!dependenciesAreCurrent(development)) {
    throw new SetupError(
      'SETUP_DEPENDENCIES',
      `npm has finished, but node_modules does not match package-lock.json. ` +
        `Look for \`omit\` in \`npm config ls\`, then run \`npm ${args.join(' ')}\`.`,
    );
  }
}

/**
 * `npm ci` deletes node_modules first. Inside an npm script, PATH begins with node_modules/.bin,
 * whose `node` npm would then be running on.
 */
function pathWithoutProject() {
  const inside = join(root, 'node_modules');
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => !folder.startsWith(inside))
    .join(delimiter);
}

function readPackages(file) {
  if (!existsSync(file)) return null;
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? null;
  } catch (error) {
    // A damaged record of an install means: install again. A damaged lockfile is the developer's.
    if (file.includes('node_modules')) return null;
    throw new SetupError(
      'SETUP_LOCKFILE',
      `package-lock.json: ${error.message}. Restore it from git.`,
    );
  }
}
