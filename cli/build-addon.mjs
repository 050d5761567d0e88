/**
 * `npm run build:addon [-- --sanitize address,undefined]`: build the addon if it is not current.
 * The path of a sanitized one is printed on standard output; TLSFARM_ADDON makes it the one in use.
 */
import { parseArgs } from 'node:util';
import { sanitizedEnvironment } from './setup/sanitizers.mjs';
import { setupOrExit } from './setup.mjs';

const sanitize = readSanitize();
// Explicitly asked for: build even when another addon has been named.
delete process.env.TLSFARM_ADDON;
const { addon } = await setupOrExit({ sanitize });

if (sanitize !== '') {
  const variables = Object.entries(sanitizedEnvironment(addon, sanitize, {}));
  process.stdout.write(`${addon}\n`);
  process.stderr.write(
    `To use it: ${variables.map(([name, value]) => `${name}='${value}'`).join(' ')} npm start\n`,
  );
}

function readSanitize() {
  try {
    return parseArgs({ options: { sanitize: { type: 'string', default: '' } } }).values.sanitize;
  } catch (error) {
    process.stderr.write(
      `${error.message}\nUsage: npm run build:addon -- [--sanitize address,undefined]\n`,
    );
    return process.exit(2);
  }
}
