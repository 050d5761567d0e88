/** `npm run bench -- TRIAL [options]`: set up, then run bench/TRIAL.ts under the pinned Node. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { exitLike, runNode } from '../cli/run-node.mjs';
import { root } from '../cli/setup/root.mjs';
import { setupOrExit } from '../cli/setup.mjs';

const TRIALS = ['first-look'];

const [trial, ...options] = process.argv.slice(2);
const file = `${trial}.ts`;
if (!TRIALS.includes(trial) || !readdirSync(join(root, 'bench')).includes(file)) {
  process.stderr.write(`Usage: npm run bench -- TRIAL [options]\nTrials: ${TRIALS.join(', ')}\n`);
  process.exit(2);
}
const { node } = await setupOrExit();
exitLike(await runNode(node, [join(root, 'bench', file), ...options]));
