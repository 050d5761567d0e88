/**
 * `npm test [-- <path or part of a path> … | <options of node --test>]`
 *
 * Sets up what is missing, then runs the unit tests side by side and the walk, whose stories start
 * whole farms, one after the other. `--sanitize address,undefined` runs the same tests on a
 * sanitized addon.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { exitLike, runNode } from '../cli/run-node.mjs';
import { root } from '../cli/setup/root.mjs';
import { sanitizedEnvironment } from '../cli/setup/sanitizers.mjs';
import { SetupError } from '../cli/setup/setup-error.mjs';
import { setup } from '../cli/setup.mjs';
import { installPackages } from './install-packages.mjs';
import { packages } from './packages.mjs';

// Generous: a slow machine is not a failure, a hang is.
const unitTimeoutMs = 180_000;
const walkTimeoutMs = 600_000;

try {
  await main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`tlsfarm: ${error.message}\n`);
  process.exit(1);
}

async function main() {
  const startedAtMs = Date.now();
  const { options, filters, sanitize } = readArguments(process.argv.slice(2));
  const files = selectFiles(filters);
  if (files.length === 0) {
    const what =
      filters.length === 0 ? 'there are no tests' : `no test file matches ${filters.join(' ')}`;
    throw new SetupError('TEST_SELECTION', `${what}; test files are test/**/*.test.ts.`);
  }

  const { node, addon } = await setup({ development: true, sanitize });
  await installPackages(packages);
  const env = sanitize === '' ? process.env : sanitizedEnvironment(addon, sanitize, process.env);

  const isWalk = (file) => file.startsWith('test/walk/');
  const runs = [
    {
      files: files.filter((file) => !isWalk(file)),
      concurrency: availableParallelism(),
      timeoutMs: unitTimeoutMs,
    },
    { files: files.filter(isWalk), concurrency: 1, timeoutMs: walkTimeoutMs },
  ].filter((run) => run.files.length > 0);

  const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-test-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const reports = [];
  let worst = { code: 0, signal: null };
  for (const [index, run] of runs.entries()) {
    const report = join(folder, `${index}.json`);
    const args = [
      '--test',
      `--test-concurrency=${run.concurrency}`,
      `--test-timeout=${run.timeoutMs}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${join(root, 'test/totals-reporter.mjs')}`,
      `--test-reporter-destination=${report}`,
      ...options,
      ...run.files,
    ];
    const status = await runNode(node, args, env);
    if (status.signal !== null || status.code !== 0) worst = status;
    reports.push(readReport(report));
    if (status.signal !== null) break;
  }

  const failed = printTotals(reports, Date.now() - startedAtMs);
  if (worst.signal === null && worst.code === 0 && failed) worst = { code: 1, signal: null };
  exitLike(worst);
}

/** Paths select files; options, and a value that follows one, are node's. */
function readArguments(args) {
  const options = [];
  const filters = [];
  let sanitize = '';
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--sanitize') sanitize = args[++i] ?? '';
    else if (arg.startsWith('--sanitize=')) sanitize = arg.slice('--sanitize='.length);
    else if (/^--test-(name|skip|shard|reporter|timeout|concurrency|isolation)[a-z-]*$/.test(arg)) {
      options.push(`${arg}=${args[++i] ?? ''}`);
    } else if (arg.startsWith('-')) options.push(arg);
    else filters.push(arg);
  }
  return { options, filters, sanitize };
}

function selectFiles(filters) {
  const all = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => `test/${file}`)
    .sort();
  if (filters.length === 0) return all;
  const matches = (file, filter) => {
    const path = relative(root, resolve(filter));
    return file === path || file.startsWith(`${path}/`) || file.includes(filter);
  };
  return all.filter((file) => filters.some((filter) => matches(file, filter)));
}

/** A runner that was killed has written nothing; the totals then say so. */
function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return { counts: null, skipped: [] };
  }
}

/** @returns {boolean} whether the totals contradict a successful exit status */
function printTotals(reports, durationMs) {
  const skipped = reports.flatMap((report) => report.skipped);
  if (skipped.length > 0) {
    process.stdout.write(`\nskipped:\n`);
    for (const { name, file, line, reason } of skipped) {
      const where = file === '' ? '' : ` (${relative(root, file)}:${line})`;
      process.stdout.write(`  ${name}${where}: ${reason === '' ? 'no reason given' : reason}\n`);
    }
  }
  const incomplete = reports.some((report) => report.counts === null);
  const sum = (key) => reports.reduce((total, report) => total + (report.counts?.[key] ?? 0), 0);
  const numbers = [
    `tests ${sum('tests')}`,
    `pass ${sum('passed')}`,
    `fail ${sum('failed')}`,
    `cancelled ${sum('cancelled')}`,
    `skipped ${sum('skipped')}`,
    `todo ${sum('todo')}`,
  ].join(', ');
  const seconds = (durationMs / 1000).toFixed(1);
  process.stdout.write(
    `\ntotal: ${numbers} in ${seconds} s${incomplete ? ' (incomplete: a run was interrupted)' : ''}\n`,
  );
  return incomplete || sum('failed') + sum('cancelled') > 0;
}
