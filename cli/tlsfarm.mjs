#!/usr/bin/env node
/**
 * The `tlsfarm` command. It runs on whatever Node is installed, sets up what is missing and hands
 * over to cli/main.ts under the pinned one.
 */
import { join } from 'node:path';
import { exitLike, runNode } from './run-node.mjs';
import { root } from './setup/root.mjs';
import { setupOrExit } from './setup.mjs';

const { node } = await setupOrExit();
exitLike(await runNode(node, [join(root, 'cli/main.ts'), ...process.argv.slice(2)]));
