/** Texts of `tlsfarm bench`'s own flags to values, as cli/values.ts does for all commands. */
import { InvalidArgumentError } from 'commander';
import type { Resume } from '../bench/load.ts';

export interface Target {
  /** As the operator wrote it. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly path: string;
}

export function httpsUrl(text: string, previous: readonly Target[] | undefined): Target[] {
  return [...(previous ?? []), parseUrl(text)];
}

function parseUrl(text: string): Target {
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'https:') {
    throw new InvalidArgumentError(`Write an https URL, such as ${suggestion(text)}.`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new InvalidArgumentError('User names and passwords are not sent: leave them out.');
  }
  const port = url.port === '' ? 443 : Number(url.port);
  if (port === 0) throw new InvalidArgumentError('Port 0 cannot be connected to.');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { url: text, host, port, path: url.pathname + url.search };
}

/** `localhost:8443` and `http://localhost:8443/` are what people write. */
function suggestion(text: string): string {
  const rest = text.replace(/^[a-z]*:\/\//i, '');
  return URL.canParse(`https://${rest}`) ? `https://${rest}` : 'https://localhost:8443/';
}

/** `never`, `always` or a ratio; `--full-every` is added where the flags come together. */
export function resume(text: string): Resume {
  if (text === 'never') return { kind: 'never' };
  if (text === 'always') return { kind: 'always', fullEvery: 0 };
  return { kind: 'ratio', ratio: share(text, 'Write never, always, or a ratio such as 0.9.') };
}

export function ratio(text: string): number {
  return share(text, 'Write a share from 0 to 1, such as 0.99.');
}

function share(text: string, fix: string): number {
  const value = Number(text);
  if (!/^[0-9]*\.?[0-9]+$/.test(text) || value > 1) throw new InvalidArgumentError(fix);
  return value;
}

const UNIT_US: Readonly<Record<string, number>> = { us: 1, ms: 1_000, s: 1_000_000 };

/** `250us`, `50ms`, `1.5s`; a plain number is milliseconds, as everywhere. */
export function latencyUs(text: string): number {
  const found = /^([0-9]+(?:\.[0-9]+)?)(us|ms|s)?$/.exec(text);
  const value = Number(found?.[1]) * (UNIT_US[found?.[2] ?? 'ms'] ?? 1);
  if (found === null || value <= 0) {
    throw new InvalidArgumentError('Write a time such as 800us, 50ms or 1.5s.');
  }
  return value;
}

const UNIT_BYTES: Readonly<Record<string, number>> = { '': 1, k: 1_024, m: 1_048_576 };
const MAX_UPLOAD_BYTES = 1_073_741_824;

/** `65536`, `64k`, `1m`. */
export function byteCount(text: string): number {
  const found = /^([0-9]+)([km]?)$/i.exec(text);
  const value = Number(found?.[1]) * (UNIT_BYTES[found?.[2]?.toLowerCase() ?? ''] ?? 1);
  if (found === null || value < 1 || value > MAX_UPLOAD_BYTES) {
    throw new InvalidArgumentError('Write a size such as 65536, 64k or 1m; at most 1024m.');
  }
  return value;
}

/** `h2,http/1.1`: each 1 to 255 bytes (RFC 7301, section 3.1). */
export function protocols(text: string): string[] {
  const names = text === '' ? [] : text.split(',');
  if (names.some((name) => name === '' || Buffer.byteLength(name) > 255)) {
    throw new InvalidArgumentError('Write protocol names with commas between, such as http/1.1.');
  }
  return names;
}
