/** `npm start`: a whole farm on this machine, from a clean clone. */
import { join } from 'node:path';
import { exitLike, runNode } from './run-node.mjs';
import { root } from './setup/root.mjs';
import { setupOrExit } from './setup.mjs';

const { node } = await setupOrExit();
exitLike(await runNode(node, [join(root, 'cli/main.ts'), 'up', ...process.argv.slice(2)]));
