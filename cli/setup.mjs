/**
 * Everything a clean clone lacks, in the order in which it is needed: npm dependencies, the pinned
 * Node runtime, the native addon. Runs on any Node >= 20 and depends on nothing, because it runs
 * before anything is installed.
 *
 * The common case is that nothing is missing: that is found out without a lock, without writing a
 * file, and without a word.
 */
import { addonIsCurrent, buildAddon } from './setup/addon.mjs';
import { dependenciesAreCurrent, installDependencies } from './setup/dependencies.mjs';
import { withLock } from './setup/lock.mjs';
import { findRuntime } from './setup/runtime.mjs';
import { SetupError } from './setup/setup-error.mjs';

/**
 * @param {object} [options]
 * @param {boolean} [options.development] also what only tests and linters need
 * @param {boolean} [options.addon] false: leave the addon alone
 * @param {string} [options.sanitize] gcc's -fsanitize list; empty for the ordinary build
 * @returns {Promise<{ node: string, version: string, addon: string | null }>} paths that now exist
 */
export async function setup(options = {}) {
  const { development = false, sanitize = '' } = options;
  // Whoever names an addon has built it; building another one would only cost time.
  const wantsAddon = (options.addon ?? true) && (sanitize !== '' || !process.env.TLSFARM_ADDON);

  let runtime = dependenciesAreCurrent(development) ? findRuntime() : null;
  if (runtime === null) {
    await withLock(async () => {
      // Another setup may have done the work while we waited for the lock.
      if (!dependenciesAreCurrent(development)) await installDependencies(development);
    });
    runtime = findRuntime();
  }
  if (!wantsAddon) return { ...runtime, addon: null };

  let addon = addonIsCurrent(runtime, sanitize);
  if (addon === null) {
    addon = await withLock(async () => {
      return addonIsCurrent(runtime, sanitize) ?? (await buildAddon(runtime, sanitize));
    });
  }
  return { ...runtime, addon };
}

/** `setup` for commands: an operator reads a sentence with the fix, not a stack trace. */
export async function setupOrExit(options) {
  try {
    return await setup(options);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`tlsfarm: ${error.message}\n`);
    process.exit(1);
  }
}
