/**
 * The native addon, compiled by node-gyp against the pinned runtime's headers.
 *
 * A record beside the objects says what they were made from:
 *
 *   { configured: { settings, files }, built: <hash> | null }
 *
 * `built` is null while a build runs or after one failed, so nobody loads a half-linked file.
 * `configured` survives a failed build: a compile error costs one file's compilation, not all.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { root } from './root.mjs';
import { findPackage, packageVersion } from './runtime.mjs';
import { SetupError } from './setup-error.mjs';
import { runStep } from './step.mjs';

const sourceFolders = ['native/src', 'native/test'];

/** @returns {string | null} the addon's path, or null when it has to be built */
export function addonIsCurrent(runtime, sanitize) {
  const { record, addon } = places(sanitize);
  if (!existsSync(addon)) return null;
  return readRecord(record).built === fingerprint(runtime, sanitize).hash ? addon : null;
}

/** @returns {Promise<string>} the addon's path */
export async function buildAddon(runtime, sanitize) {
  checkTools();
  const { folder, record, addon } = places(sanitize);
  const wanted = fingerprint(runtime, sanitize);
  if (!wanted.files.some((file) => file.endsWith('.cc'))) {
    throw new SetupError('SETUP_SOURCES', `no C++ sources in native/src: restore them from git.`);
  }
  if (sanitize !== '') prepareFolder(folder);

  const name = sanitize === '' ? 'native addon' : `native addon (${sanitize})`;
  const nodeGyp = async (title, commands, onLine) => {
    await runStep(title, runtime.node, gypArguments(runtime, sanitize, commands), {
      cwd: folder,
      env: gypEnvironment(runtime),
      onLine,
      whatToDo: () =>
        'If a compiler or header is missing: `apt-get install -y python3 make g++`. Otherwise it is an error in native/src.',
    });
  };

  const { configured } = readRecord(record);
  const usable =
    configured?.settings === wanted.settings && existsSync(join(folder, 'build/Makefile'));
  // Make's dependency files still name a removed header, so a removal needs a clean start.
  const removed = !usable || configured.files.some((file) => !wanted.files.includes(file));
  const added = !usable || wanted.files.some((file) => !configured.files.includes(file));
  if (removed || added) {
    await nodeGyp(`configuring the ${name}`, removed ? ['clean', 'configure'] : ['configure']);
  }
  const nowConfigured = { settings: wanted.settings, files: wanted.files };
  writeRecord(record, { configured: nowConfigured, built: null });

  let compiled = 0;
  await nodeGyp(`building the ${name}`, ['build'], (line) => {
    return /^\s*CXX\(/.test(line) ? `${++compiled} files` : undefined;
  });
  if (!existsSync(addon)) {
    throw new SetupError(
      'SETUP_ADDON',
      `node-gyp has finished without making ${addon}: check target_name in binding.gyp.`,
    );
  }
  writeRecord(record, { configured: nowConfigured, built: wanted.hash });
  return addon;
}

/**
 * node-gyp always builds in ./build. A sanitized build therefore gets a folder of its own, from
 * which links lead to the sources, and the two never mix their objects.
 */
function places(sanitize) {
  const short = { address: 'asan', thread: 'tsan', undefined: 'ubsan', leak: 'lsan' };
  const names = sanitize.split(',').filter((name) => name !== '');
  const main = names.includes('address') ? 'address' : names[0];
  const folder = main === undefined ? root : join(root, `build-${short[main] ?? main}`);
  return {
    folder,
    record: join(folder, 'build/tlsfarm-build.json'),
    addon: join(folder, 'build/Release/tlsfarm.node'),
  };
}

function prepareFolder(folder) {
  mkdirSync(folder, { recursive: true });
  for (const name of ['binding.gyp', 'native', 'package.json']) {
    if (!existsSync(join(folder, name))) symlinkSync(join('..', name), join(folder, name));
  }
}

/** `settings` changes force a clean build, `files` a new Makefile; `hash` covers everything. */
function fingerprint(runtime, sanitize) {
  const addonApi = findPackage('node-addon-api');
  const settings = createHash('sha256')
    .update(readFileSync(join(root, 'binding.gyp')))
    .update(`\0${runtime.version}\0${process.arch}\0${sanitize}`)
    .update(`\0${addonApi === null ? '' : packageVersion(addonApi)}`)
    // Makefiles contain absolute paths: a moved folder has to be configured again.
    .update(`\0${root}`)
    .digest('hex');
  const files = sourceFolders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.(cc|h)$/.test(name))
        .map((name) => `${folder}/${name}`),
    )
    .sort((a, b) => (a < b ? -1 : 1));
  const hash = createHash('sha256').update(settings);
  for (const file of files) {
    hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  }
  return { settings, files, hash: hash.digest('hex') };
}

function gypArguments(runtime, sanitize, commands) {
  const nodeGyp = findPackage('node-gyp');
  if (nodeGyp === null) {
    throw new SetupError(
      'SETUP_NODE_GYP',
      'node-gyp is not installed. Run `npm ci --ignore-scripts`.',
    );
  }
  const args = [join(nodeGyp, 'bin/node-gyp.js'), ...commands];
  args.push(`--nodedir=${runtime.folder}`, '--jobs=max');
  // Only gyp understands definitions; make would take the rest of the line for targets.
  if (sanitize !== '' && commands.includes('configure')) {
    args.push('--', `-Dtlsfarm_sanitize=${sanitize}`);
  }
  return args;
}

/**
 * node-gyp lets npm_config_* variables win over its own command line, and npm hands its settings
 * (a `nodedir` with other headers, for one) to scripts in just these.
 */
function gypEnvironment(runtime) {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith('npm_')),
  );
  env.PATH = `${dirname(runtime.node)}${delimiter}${process.env.PATH ?? ''}`;
  return env;
}

function checkTools() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const packages = { python3: 'python3', make: 'make', 'g++': 'g++' };
  // CXX and PYTHON are how people name other ones.
  if (process.env.CXX) delete packages['g++'];
  if (process.env.PYTHON || process.env.NODE_GYP_FORCE_PYTHON) delete packages.python3;
  const missing = Object.keys(packages).filter(
    (tool) => !folders.some((folder) => existsSync(join(folder, tool))),
  );
  if (missing.length === 0) return;
  throw new SetupError(
    'SETUP_TOOLS',
    `the native addon has to be compiled, and ${missing.join(', ')} cannot be found. Run \`apt-get install -y python3 make g++\`.`,
  );
}

function readRecord(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return { configured: null, built: null };
  }
}

function writeRecord(file, record) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify(record));
}
