/**
 * What a process needs in its environment to load a sanitized addon. `node` itself is not
 * sanitized, so the runtime library has to be there before everything else (LD_PRELOAD).
 */
import { spawnSync } from 'node:child_process';
import { SetupError } from './setup-error.mjs';

const libraries = { address: 'libasan.so', thread: 'libtsan.so', leak: 'liblsan.so' };

/**
 * @param {string} addon
 * @param {string} sanitize
 * @param {NodeJS.ProcessEnv} env what is there already; its own settings win
 * @returns {NodeJS.ProcessEnv}
 */
export function sanitizedEnvironment(addon, sanitize, env) {
  const preload = sanitize
    .split(',')
    .filter((name) => name in libraries)
    .map((name) => libraryPath(libraries[name]));
  return {
    ...env,
    TLSFARM_ADDON: addon,
    ...(preload.length > 0 && { LD_PRELOAD: preload.join(' ') }),
    // V8 never frees what it holds at exit: leak reports would be about Node, not about us.
    ASAN_OPTIONS: env.ASAN_OPTIONS ?? 'detect_leaks=0:abort_on_error=1:disable_coredump=1',
    UBSAN_OPTIONS: env.UBSAN_OPTIONS ?? 'print_stacktrace=1:halt_on_error=1',
  };
}

function libraryPath(name) {
  const compiler = process.env.CXX ?? 'g++';
  const found = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' });
  const path = (found.stdout ?? '').trim();
  // gcc echoes the bare name of a library that it does not have.
  if (path.startsWith('/')) return path;
  throw new SetupError(
    'SETUP_SANITIZER',
    `${compiler} has no ${name}, which a sanitized addon needs. Run \`apt-get install -y g++\`.`,
  );
}
