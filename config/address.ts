import { isIPv4, isIPv6 } from 'node:net';

import { OperatorError } from './operator-error.ts';

/**
 * Where a socket listens or connects. `host` is a literal IP without brackets or a DNS name, lower
 * case; `port` is 0..65535 (0 only makes sense for listening); `path` is absolute.
 */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** sun_path holds 108 bytes, one of them the final NUL (unix(7)). */
const MAX_UNIX_PATH_BYTES = 107;

/**
 * `host:port`, `[v6]:port` or `unix:/path` to an address. Names are lowered, never resolved; an IPv6
 * literal takes its RFC 5952 form, so that two spellings of one address are one name.
 *
 * @throws OperatorError `address-*`, with the fix in the message.
 */
export function parseAddress(text: string): Address {
  if (text.startsWith('unix:')) return parseUnix(text);
  const { host, port } = split(text);
  return { host: parseHost(host, text), port: parsePort(port, text) };
}

/**
 * The canonical text of an address, which `parseAddress` reads back: lower case, IPv6 in brackets,
 * decimal port, a DNS name as written. This text, in UTF-8, is what a node's id is a hash of
 * (`node-id.ts`). A unix path keeps its case: `/a` and `/A` are two sockets.
 */
export function formatAddress(address: Address): string {
  if ('path' in address) return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** `formatAddress(parseAddress(text))`: the name both balancers and terminators compute from. */
export function canonicalName(text: string): string {
  return formatAddress(parseAddress(text));
}

/**
 * True when nobody can connect to this address by its text: a wildcard host or port 0. A terminator
 * that listens on such an address has to be told its name (`--advertise`).
 */
export function isWildcard(address: Address): boolean {
  if ('path' in address) return false;
  return address.port === 0 || address.host === '0.0.0.0' || address.host === '::';
}

function parseUnix(text: string): Address {
  const path = text.slice('unix:'.length);
  if (!path.startsWith('/') || path.includes('\0')) {
    throw new OperatorError(
      'address-unix-path',
      `'${printable(text)}': a unix socket needs an absolute path, such as unix:/run/tlsfarm.sock.`,
    );
  }
  if (Buffer.byteLength(path) > MAX_UNIX_PATH_BYTES) {
    throw new OperatorError(
      'address-unix-path',
      `'${printable(text)}': the path is longer than the ${MAX_UNIX_PATH_BYTES} bytes that Linux ` +
        'allows for a unix socket. Use a shorter one.',
    );
  }
  return { path };
}

function split(text: string): { host: string; port: string } {
  if (text.startsWith('[')) {
    const end = text.indexOf(']:');
    if (end < 0) throw shape(text);
    const host = text.slice(1, end);
    if (!isIPv6(host)) {
      throw new OperatorError(
        'address-host',
        `'${printable(text)}': what stands in brackets has to be an IPv6 address, such as [::1]:443.`,
      );
    }
    return { host, port: text.slice(end + 2) };
  }
  const colon = text.lastIndexOf(':');
  if (colon < 0) throw shape(text);
  const host = text.slice(0, colon);
  if (host.includes(':')) {
    throw new OperatorError(
      'address-brackets',
      `'${printable(text)}': write an IPv6 address in brackets, such as [2001:db8::1]:443.`,
    );
  }
  return { host, port: text.slice(colon + 1) };
}

function parseHost(host: string, text: string): string {
  if (host === '' || host === '*') {
    throw new OperatorError(
      'address-host',
      `'${printable(text)}': which host? Write 0.0.0.0 for every IPv4 address, [::] for every address.`,
    );
  }
  if (isIPv4(host)) return host;
  if (isIPv6(host)) {
    if (host.includes('%')) {
      throw new OperatorError(
        'address-zone',
        `'${printable(text)}': an IPv6 zone means something on one machine only. ` +
          'Use an address without one.',
      );
    }
    return compressIPv6(host);
  }
  const name = host.toLowerCase();
  // Digits and dots only, and yet not IPv4: 010.0.0.1 or 10.0.0 would be read as something else by
  // half of the world's resolvers.
  if (/^[0-9.]+$/.test(name)) {
    throw new OperatorError(
      'address-host',
      `'${printable(text)}': not an IPv4 address. Write four decimal numbers without leading zeros.`,
    );
  }
  const labels = name.replace(/\.$/, '').split('.');
  if (name.length > 254 || !labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label))) {
    throw new OperatorError(
      'address-host',
      `'${printable(text)}': not a host name. ` +
        'Use letters, digits, dots and hyphens, or a literal address.',
    );
  }
  return name;
}

function parsePort(port: string, text: string): number {
  const value = Number(port);
  if (!/^(0|[1-9][0-9]{0,4})$/.test(port) || value > 65_535) {
    throw new OperatorError(
      'address-port',
      `'${printable(text)}': the port has to be a decimal number from 0 to 65535.`,
    );
  }
  return value;
}

/**
 * RFC 5952 §4: lower case, no leading zeros, the longest run of zeros shortened (the first of equals,
 * never a single group). The mapped range keeps its dotted quad (§5).
 */
function compressIPv6(host: string): string {
  const groups = expandIPv6(host);
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (mapped) {
    const [high = 0, low = 0] = groups.slice(6);
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  let bestStart = 0;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > bestLength) {
      bestStart = start;
      bestLength = length;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestLength < 2) return hex.join(':');
  return `${hex.slice(0, bestStart).join(':')}::${hex.slice(bestStart + bestLength).join(':')}`;
}

/** Eight 16-bit groups of what `isIPv6` accepted. */
function expandIPv6(host: string): number[] {
  const dotted = host.replace(/\d+\.\d+\.\d+\.\d+$/, (quad) => {
    const [a = 0, b = 0, c = 0, d = 0] = quad.split('.').map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [left = '', right] = dotted.split('::');
  const parse = (side: string): number[] =>
    side === '' ? [] : side.split(':').map((group) => Number.parseInt(group, 16));
  if (right === undefined) return parse(left);
  const head = parse(left);
  const tail = parse(right);
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

function shape(text: string): Error {
  return new OperatorError(
    'address-shape',
    `'${printable(text)}': write host:port, [v6-address]:port or unix:/path.`,
  );
}

/** An operator's text as it may stand in a message: one line, bounded. */
function printable(text: string): string {
  const clean = text.replace(/\p{Cc}/gu, '?');
  return clean.length > 120 ? `${clean.slice(0, 120)}…` : clean;
}
