/** Figures of a run to tables: who is cheapest, by how much, and with how many errors. Pure. */
import type { Outcome, Row } from './runner.ts';
import { describeErrors } from './runner.ts';
import { errorsOf } from './slice.ts';
import { GENERATOR_BOUND } from './thresholds.ts';

/** tlsfarm's median to that of the best peer that did the same; null: nothing to compare. */
export function ratioToBest(row: Row): { readonly ratio: number; readonly best: string } | null {
  const own = Object.entries(row.outcomes).find(([name]) => isOwn(name))?.[1];
  if (own?.kind !== 'measured') return null;
  const peers = Object.entries(row.outcomes).flatMap(([name, outcome]) =>
    outcome.kind === 'measured' && !isOwn(name) ? [{ name, median: outcome.cell.median }] : [],
  );
  const best = peers.toSorted((a, b) => a.median - b.median)[0];
  return best === undefined ? null : { ratio: own.cell.median / best.median, best: best.name };
}

export function isOwn(driver: string): boolean {
  return driver.startsWith('tlsfarm');
}

/** Rows of one unit with the same servers as one table: head, then a line for each. */
export function costTable(rows: readonly Row[]): string[][] {
  const drivers = driversOf(rows);
  const head = ['row', ...drivers, 'tlsfarm to best peer'];
  const body = rows.map((row) => {
    const compared = ratioToBest(row);
    const { target } = row.trial;
    const own = Object.entries(row.outcomes).find(([name]) => isOwn(name))?.[1];
    const ratio = compared === null ? '–' : `${compared.ratio.toFixed(2)} of ${compared.best}`;
    const aim =
      target === null || own?.kind !== 'measured'
        ? ''
        : `; ${(own.cell.median / target.value).toFixed(2)} of the ${target.value} wanted`;
    return [
      `${row.trial.title}, ${row.trial.unit}`,
      ...drivers.map((driver) => cost(row.outcomes[driver])),
      ratio + aim,
    ];
  });
  return [head, ...body];
}

/** Rates, in the same shape; of what the server did on its core, or of the generator if it says so. */
export function rateTable(rows: readonly Row[]): string[][] {
  const drivers = driversOf(rows);
  return [
    ['row', ...drivers],
    ...rows.map((row) => [
      `${row.trial.title}${row.trial.unit === 'µs per MB' ? ', MB/s' : ', per second'}`,
      ...drivers.map((driver) => rate(row.outcomes[driver])),
    ]),
  ];
}

/** Errors, connections and what else is not a figure. */
export function errorTable(rows: readonly Row[]): string[][] {
  const drivers = driversOf(rows);
  return [
    ['row', ...drivers],
    ...rows.map((row) => [
      row.trial.title,
      ...drivers.map((driver) => trouble(row.outcomes[driver])),
    ]),
  ];
}

/** The last words of a server say more than its first. */
const MAX_WHY = 100;

function driversOf(rows: readonly Row[]): string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(row.outcomes)))];
}

function cost(outcome: Outcome | undefined): string {
  if (outcome === undefined) return '';
  if (outcome.kind === 'failed') return 'failed ¹';
  if (outcome.kind === 'untried') return outcome.why;
  const { median, min, max } = outcome.cell;
  const figure = `${short(median)} (${short(min)}–${short(max)})`;
  return outcome.kind === 'other' ? `[${figure}] ¹` : figure;
}

function rate(outcome: Outcome | undefined): string {
  if (outcome === undefined || !('cell' in outcome)) return '–';
  const bound = outcome.cell.generatorBusy > GENERATOR_BOUND ? ' (generator-bound)' : '';
  return `${Math.round(outcome.cell.ratePerS)}${bound}`;
}

function trouble(outcome: Outcome | undefined): string {
  if (outcome === undefined) return '';
  if (outcome.kind === 'untried') return outcome.why;
  if (outcome.kind === 'failed') return `failed: ${outcome.why.slice(-MAX_WHY)}`;
  const { errors, connections } = outcome.cell;
  const text = `${errorsOf(errors) === 0 ? '0' : describeErrors(errors)} in ${connections}`;
  if (outcome.kind === 'other') return `${text}; ${outcome.why}`;
  const share = outcome.cell.resumedShare ?? 1;
  return share < 0.9995 ? `${text}; ${(share * 100).toFixed(1)} % resumed` : text;
}

function short(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0);
}
