/** `npm run bench -- TRIAL [options]`: set up, then run bench/TRIAL.ts under the pinned Node. */
import { join } from 'node:path';
import { exitLike, runNode } from '../cli/run-node.mjs';
import { SetupError } from '../cli/setup/setup-error.mjs';
import { root } from '../cli/setup/root.mjs';
import { setupOrExit } from '../cli/setup.mjs';
import { installPackages } from '../test/install-packages.mjs';
import { peers } from './peers.mjs';

/** Which Debian packages each runs beside. */
const nginx = ['nginx-light', 'libnginx-mod-stream'];
const trials = { 'first-look': nginx, compare: Object.keys(peers), guard: nginx };

const [trial = '', ...options] = process.argv.slice(2);
if (!Object.hasOwn(trials, trial)) {
  const names = Object.keys(trials).join(', ');
  process.stderr.write(`Usage: npm run bench -- TRIAL [options]\nTrials: ${names}\n`);
  process.exit(2);
}
const { node } = await setupOrExit();
try {
  await installPackages(Object.fromEntries(trials[trial].map((name) => [name, peers[name]])));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  // A peer that is missing fails in its own column; the others can be measured.
  process.stderr.write(`${error.message}\n`);
}
exitLike(await runNode(node, [join(root, 'bench', `${trial}.ts`), ...options]));
