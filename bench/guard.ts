/**
 * Has tlsfarm become dearer? A few short rows beside nginx, their ratios compared with
 * docs/performance/guard.json: `npm run bench -- guard [--write]`. Both are measured in the same run,
 * so that a slow machine slows both.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nginx } from './drivers/nginx.ts';
import { tlsfarm } from './drivers/tlsfarm.ts';
import { Grounds } from './grounds.ts';
import type { Ratios } from './guard-ratios.ts';
import { compareRatios, describeVerdict } from './guard-ratios.ts';
import type { Row } from './runner.ts';
import { describeErrors, measure } from './runner.ts';
import { errorsOf } from './slice.ts';
import { terminatorTrials } from './trials/terminators.ts';

const ROWS = ['full-rsa-1.2', 'resumed-id-1.2', 'resumed-1.3', 'bulk-1.3'];
const STORED = new URL('../docs/performance/guard.json', import.meta.url);
const SLICE_MS = 1_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    seed: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1 || !Number.isSafeInteger(seed)) {
  process.stderr.write('--rounds and --seed have to be whole numbers.\n');
  process.exit(2);
}
process.on('SIGINT', () => process.exit(130));
process.on('SIGTERM', () => process.exit(143));

const say = (text: string): void => void process.stderr.write(`${text}\n`);
say(`seed ${seed}`);
const grounds = new Grounds();
try {
  await grounds.prepare();
  const trials = terminatorTrials.filter(({ key }) => ROWS.includes(key));
  const run = { rounds, sliceMs: SLICE_MS, seed, say };
  const { rows, versions } = await measure(grounds, trials, [tlsfarm, nginx], [], run);
  const problems = rows.flatMap(problemsOf);
  for (const problem of problems) say(problem);
  const now = ratiosOf(rows);
  if (values.write && problems.length === 0) {
    const made = new Date().toISOString().slice(0, 10);
    const text = JSON.stringify(
      { made, rounds, sliceMs: SLICE_MS, versions, ratios: now },
      null,
      2,
    );
    writeFileSync(STORED, `${text}\n`);
  }
  const verdicts = compareRatios(stored(), now);
  for (const verdict of verdicts) process.stdout.write(`${describeVerdict(verdict)}\n`);
  if (problems.length > 0 || verdicts.some(({ broken }) => broken)) process.exitCode = 1;
} finally {
  await grounds.stop();
}

function ratiosOf(rows: readonly Row[]): Ratios {
  const ratios: Record<string, number> = {};
  for (const { trial, outcomes } of rows) {
    const { tlsfarm: own, nginx: peer } = outcomes;
    if (own?.kind !== 'measured' || peer?.kind !== 'measured') continue;
    ratios[trial.key] = Number((own.cell.median / peer.cell.median).toFixed(4));
  }
  return ratios;
}

/** A row that is cheap because it failed is not cheap. */
function problemsOf({ trial, outcomes }: Row): string[] {
  return Object.entries(outcomes).flatMap(([driver, outcome]) => {
    if (outcome.kind !== 'measured') return [`${trial.key}, ${driver}: ${outcome.why}`];
    const { errors } = outcome.cell;
    return errorsOf(errors) === 0 ? [] : [`${trial.key}, ${driver}: ${describeErrors(errors)}`];
  });
}

function stored(): Ratios {
  try {
    return (JSON.parse(readFileSync(STORED, 'utf8')) as { ratios: Ratios }).ratios;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    say(
      'Nothing is stored yet: run `npm run bench -- guard --write` on a version that is known good.',
    );
    return {};
  }
}
