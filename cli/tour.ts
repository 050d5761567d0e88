/**
 * The tour: node:tls as a real client, through the balancer, in both protocol versions, first full
 * and then resumed. Every row states what it promises and is checked against what happened.
 */
import { terminatorOn } from './demo-origin.ts';
import type { Version, Visit } from './visit.ts';
import { visit } from './visit.ts';

export interface TourOptions {
  readonly host: string;
  readonly port: number;
  /** PEM of the CA that the certificates have to lead to. */
  readonly ca: string;
  /** How many terminators have to be seen. */
  readonly terminators: number;
}

export interface TourRow {
  readonly what: string;
  /** The client's source address. */
  readonly client: string;
  readonly protocol: string;
  readonly resumed: boolean;
  readonly terminator: string;
  readonly ms: number;
  readonly page: string;
  /** What was not as promised; empty when all was. */
  readonly broken: readonly string[];
}

export interface Tour {
  readonly rows: readonly TourRow[];
  /** What was wrong with the tour as a whole; empty when nothing was. */
  readonly broken: readonly string[];
}

/** New clients go by their source address: so many are tried until all terminators have served. */
const MAX_CLIENTS = 24;
/** More than one, so that a row is no accident. */
const MIN_CLIENTS = 2;

export async function takeTour(
  options: TourOptions,
  onVisit: (what: string) => void = () => {},
): Promise<Tour> {
  const rows: TourRow[] = [];
  const seen = new Set<string>();
  for (let client = 1; client <= MAX_CLIENTS; client++) {
    if (client > MIN_CLIENTS && seen.size >= options.terminators) break;
    // Only loopback has addresses to spare; elsewhere the kernel chooses the one there is.
    const address = options.host.startsWith('127.') ? `127.0.0.${client + 1}` : null;
    const visits: TourRow[] = [];
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      visits.push(...(await visitTwice(options, address, version, onVisit)));
    }
    const fresh = visits.some((row) => !seen.has(row.terminator));
    for (const row of visits) seen.add(row.terminator);
    // Clients that showed nothing new are not worth their four lines, unless something was wrong.
    if (client <= MIN_CLIENTS || fresh || visits.some((row) => row.broken.length > 0)) {
      rows.push(...visits);
    }
    if (visits.some((row) => row.broken.length > 0)) break;
  }
  const named = [...seen].filter((name) => name !== '');
  const broken =
    rows.every((row) => row.broken.length === 0) && named.length < options.terminators
      ? [`${named.length} of ${options.terminators} terminators served ${MAX_CLIENTS} clients`]
      : [];
  return { rows, broken };
}

/** A client's first visit and its second one, with what the first one left it. */
async function visitTwice(
  options: TourOptions,
  client: string | null,
  version: Version,
  onVisit: (what: string) => void,
): Promise<TourRow[]> {
  const name = version.replace('TLSv', 'TLS ');
  const fullRow = `${name} full`;
  const resumedRow = version === 'TLSv1.2' ? `${name} resumed by session ID` : `${name} resumed`;

  onVisit(`${fullRow}, client ${client ?? 'here'}`);
  const first = await visit({ ...options, client, version, session: null });
  const full = tourRow(fullRow, client, first, { version, resumed: false, terminator: null });

  onVisit(`${resumedRow}, client ${client ?? 'here'}`);
  const second = await visit({ ...options, client, version, session: first.session });
  const resumed = tourRow(resumedRow, client, second, {
    version,
    resumed: true,
    terminator: full.terminator,
  });
  return [full, resumed];
}

export interface Promised {
  readonly version: Version;
  readonly resumed: boolean;
  /** Null: whoever. */
  readonly terminator: string | null;
}

/** What was seen beside what was promised. */
export function tourRow(
  what: string,
  client: string | null,
  seen: Visit,
  promised: Promised,
): TourRow {
  const terminator = terminatorOn(seen.body);
  const broken: string[] = [];
  if (seen.error !== null) broken.push(seen.error);
  if (seen.protocol !== promised.version) {
    broken.push(`protocol ${seen.protocol || 'none'}, not ${promised.version}`);
  }
  if (seen.resumed !== promised.resumed) {
    broken.push(seen.resumed ? 'resumed, not full' : 'full, not resumed');
  }
  if (terminator === null) broken.push('not the page');
  if (promised.terminator !== null && terminator !== promised.terminator) {
    broken.push(`not served by ${promised.terminator || 'the same terminator'}`);
  }
  return {
    what,
    client: client ?? 'this host',
    protocol: seen.protocol,
    resumed: seen.resumed,
    terminator: terminator ?? '',
    ms: seen.ms,
    page: seen.body.trim(),
    broken,
  };
}
