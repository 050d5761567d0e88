/** Ratios of now beside stored ones: what has become dearer by too much. Pure. */

/** tlsfarm's cost to nginx's in the same run, by row. */
export type Ratios = Readonly<Record<string, number>>;

/** A drop of 15 % in what one core does is a cost of 1 / 0.85. */
export const ALLOWED_DROP = 0.15;

export interface Verdict {
  readonly row: string;
  readonly stored: number | null;
  readonly now: number | null;
  /** How much less a core does than stored: 0.2 is a fifth; negative: more. */
  readonly drop: number | null;
  readonly broken: boolean;
}

/** Every stored row has to be there again; a new row breaks nothing. */
export function compareRatios(stored: Ratios, now: Ratios): Verdict[] {
  const rows = [...new Set([...Object.keys(stored), ...Object.keys(now)])];
  return rows.map((row) => {
    const before = stored[row] ?? null;
    const after = now[row] ?? null;
    if (before === null || after === null) {
      return { row, stored: before, now: after, drop: null, broken: after === null };
    }
    const drop = 1 - before / after;
    return { row, stored: before, now: after, drop, broken: drop > ALLOWED_DROP };
  });
}

export function describeVerdict({ row, stored, now, drop, broken }: Verdict): string {
  if (now === null) return `${row}: NOT MEASURED, stored ${figure(stored)}`;
  if (stored === null) return `${row}: ${figure(now)} of nginx, nothing stored`;
  const change = `${Math.abs((drop ?? 0) * 100).toFixed(0)} % ${(drop ?? 0) > 0 ? 'less' : 'more'} per core`;
  return `${row}: ${figure(now)} of nginx, stored ${figure(stored)}, ${change}${broken ? ': TOO MUCH LESS' : ''}`;
}

function figure(ratio: number | null): string {
  return ratio === null ? '?' : ratio.toFixed(3);
}
