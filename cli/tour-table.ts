import Table from 'cli-table3';
import type { Tour } from './tour.ts';

/** The tour as a table, and below it what was not as promised. */
export function tourTable(tour: Tour): string {
  const table = new Table({
    head: ['what', 'client', 'protocol', 'handshake', 'terminator', 'ms', 'page'],
    colAligns: ['left', 'left', 'left', 'left', 'left', 'right', 'left'],
    style: { head: [], border: [], compact: true },
  });
  for (const row of tour.rows) {
    const page = row.page === '' ? 'none' : row.page;
    table.push([
      row.what,
      row.client,
      row.protocol || 'none',
      row.resumed ? 'resumed' : 'full',
      row.terminator || 'none',
      row.ms.toFixed(1),
      row.broken.length === 0 ? page : `NOT AS PROMISED: ${row.broken.join('; ')}`,
    ]);
  }
  const lines = [table.toString(), ...tour.broken.map((what) => `NOT AS PROMISED: ${what}.`)];
  return `${lines.join('\n')}\n`;
}

export function tourHolds(tour: Tour): boolean {
  return tour.broken.length === 0 && tour.rows.every((row) => row.broken.length === 0);
}
