/** The JSON of `tlsfarm bench`; docs/bench-json.md tells other programs what is in it. */
import { readFileSync } from 'node:fs';
import type { LoadOptions, LoadResult } from './load.ts';
import type { Thresholds } from './thresholds.ts';
import { resumedShare } from './thresholds.ts';

/** Raised when a field changes its meaning or goes; new fields may come without. */
export const REPORT_FORMAT = 'tlsfarm-bench/1';

export interface Report {
  readonly urls: readonly string[];
  readonly options: LoadOptions;
  readonly thresholds: Thresholds;
  readonly result: LoadResult;
  /** A signal ended the run before its time. */
  readonly interrupted: boolean;
  /** One sentence for each. */
  readonly broken: readonly string[];
}

export function reportJson(report: Report): string {
  // The CAs may be the whole system's: whether there were any is what matters.
  const { ca, ...options } = report.options;
  return `${JSON.stringify(
    {
      format: REPORT_FORMAT,
      versions: versions(),
      urls: report.urls,
      options: { ...options, verified: ca !== null },
      thresholds: report.thresholds,
      broken: report.broken,
      interrupted: report.interrupted,
      resumedShare: resumedShare(report.result),
      result: report.result,
    },
    null,
    2,
  )}\n`;
}

export function versions(): Readonly<Record<'tlsfarm' | 'node' | 'openssl', string>> {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return {
    tlsfarm: (JSON.parse(text) as { version: string }).version,
    node: process.versions.node,
    openssl: process.versions.openssl,
  };
}
