/** `tlsfarm bench` as a story: check where the report goes, run, show live, report, judge. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { bytes, number, percent, resultTable } from '../bench/result-table.ts';
import type { LoadOptions, LoadProgress, LoadResult } from '../bench/load.ts';
import { reportHtml } from '../bench/report-html.ts';
import { reportJson } from '../bench/report-json.ts';
import { runLoad } from '../bench/run-load.ts';
import type { Thresholds } from '../bench/thresholds.ts';
import { brokenThresholds } from '../bench/thresholds.ts';
import { OperatorError } from '../config/operator-error.ts';
import { replaceOperatorFile } from '../config/operator-file.ts';

export interface BenchRequest {
  /** As the operator wrote them. */
  readonly urls: readonly string[];
  readonly options: LoadOptions;
  readonly thresholds: Thresholds;
  /** A file, `-` for standard output, or null. */
  readonly json: string | null;
  readonly html: string | null;
}

const PLAIN_LINE_EVERY_MS = 5_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const EXIT_INTERRUPTED_TWICE = 130;

/** The exit status: 0, or 1 if a threshold was broken. */
export async function runBench(request: BenchRequest): Promise<number> {
  if (request.json !== null && request.json !== '-') checkFolder('--json', request.json);
  if (request.html !== null) checkFolder('--html', request.html);
  const { result, interrupted } = await run(request.options);
  const broken = brokenThresholds(result, request.thresholds);
  const report = { ...request, result, interrupted, broken };
  const table = interrupted
    ? `Ended early by a signal.\n${resultTable(result, request.options)}`
    : resultTable(result, request.options);
  // With `--json -` standard output is for the program that reads it.
  await write(request.json === '-' ? process.stderr : process.stdout, table);
  if (request.json === '-') await write(process.stdout, reportJson(report));
  else if (request.json !== null) save('--json', request.json, reportJson(report));
  if (request.html !== null) save('--html', request.html, reportHtml(report));
  for (const sentence of broken) await write(process.stderr, `tlsfarm: ${sentence}\n`);
  return broken.length === 0 ? 0 : 1;
}

/** The first signal ends the run early, a second one ends us. */
async function run(options: LoadOptions): Promise<{ result: LoadResult; interrupted: boolean }> {
  const abort = new AbortController();
  const onSignal = (): void => {
    if (abort.signal.aborted) process.exit(EXIT_INTERRUPTED_TWICE);
    abort.abort();
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  const display = process.stderr.isTTY ? liveLine() : plainLines();
  try {
    const hooks = { onProgress: display.show, signal: abort.signal };
    const result = await runLoad(options, hooks).catch(refused);
    return { result, interrupted: abort.signal.aborted };
  } finally {
    display.end();
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

/** What the network does is in the result; what is thrown, no run could be started with. */
function refused(error: unknown): never {
  if (error instanceof OperatorError || !(error instanceof Error)) throw error;
  throw new OperatorError('load-refused', `${error.message}: correct that flag.`, { cause: error });
}

interface Display {
  show(progress: LoadProgress): void;
  end(): void;
}

function liveLine(): Display {
  return {
    show: (progress) => {
      const width = (process.stderr.columns ?? 80) - 1;
      process.stderr.write(`\r\x1b[K${progressLine(progress).slice(0, width)}`);
    },
    end: () => void process.stderr.write('\r\x1b[K'),
  };
}

function plainLines(): Display {
  let nextAtMs = PLAIN_LINE_EVERY_MS;
  return {
    show: (progress) => {
      if (progress.elapsedMs < nextAtMs) return;
      nextAtMs = progress.elapsedMs + PLAIN_LINE_EVERY_MS;
      process.stderr.write(`${progressLine(progress)}\n`);
    },
    end: () => {},
  };
}

export function progressLine(progress: LoadProgress): string {
  const { completed, resumed, errors } = progress;
  const share = completed === 0 ? '' : ` (${percent(Math.min(1, resumed / completed))} resumed)`;
  return (
    `${(progress.elapsedMs / 1_000).toFixed(1)} s: ${number(progress.ratePerS)} started per second, ` +
    `${number(completed)} completed${share}, ${number(progress.active)} active, ` +
    (errors === 0 ? 'no errors' : `${number(errors)} ERRORS`)
  );
}

/** Before a long run, not after it. */
function checkFolder(flag: string, path: string): void {
  const refuse = (why: string): never => {
    throw new OperatorError('report-unwritable', `${flag} ${path} ${why}`);
  };
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
  } catch {
    refuse('cannot be written: make its folder first, and one that this user may write to.');
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
    refuse('is a folder: name the file in it.');
  }
}

function save(flag: string, path: string, text: string): void {
  replaceOperatorFile(`${flag} ${path}`, path, text, 0o644);
  process.stderr.write(`Wrote ${path} (${bytes(Buffer.byteLength(text))}).\n`);
}

function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()));
  });
}
