/**
 * The pinned Node runtime, an npm package per platform. It is used even when the Node that runs us
 * is new enough: the addon is compiled against its headers and uses the OpenSSL inside it, so
 * "close enough" is another program.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root } from './root.mjs';
import { SetupError } from './setup-error.mjs';

const platforms = ['linux-x64', 'linux-arm64'];

export const runtimePackage = `node-${process.platform}-${process.arch}`;

/** @returns {{ node: string, folder: string, version: string }} */
export function findRuntime() {
  const platform = `${process.platform}-${process.arch}`;
  if (!platforms.includes(platform)) {
    throw new SetupError(
      'SETUP_PLATFORM',
      `there is no Node runtime for ${platform}; tlsfarm runs on ${platforms.join(' and ')}. Use such a machine or container.`,
    );
  }
  const folder = findPackage(runtimePackage);
  const node = folder === null ? '' : join(folder, 'bin/node');
  if (folder === null || !existsSync(node)) {
    throw new SetupError(
      'SETUP_RUNTIME',
      `the Node runtime (npm package ${runtimePackage}) is not installed; npm leaves optional packages out when told to, or when a download fails. Run \`npm ci --ignore-scripts --include=optional\`.`,
    );
  }
  return { node, folder, version: packageVersion(folder) };
}

/** Where a dependency is installed, also when npm has hoisted it; null if it is not. */
export function findPackage(name) {
  try {
    return dirname(createRequire(join(root, 'package.json')).resolve(`${name}/package.json`));
  } catch {
    return null;
  }
}

export function packageVersion(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;
}
