/**
 * The first bytes of a connection to a ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), to "more
 * bytes, please", or to the reason why this is not TLS. Pure: no bytes are changed or kept, nothing
 * is read past their end, nothing is thrown, and the work is bounded by 64 KiB.
 */

/** Raw bytes, record headers included, within which a hello has to be whole. */
export const MAX_HELLO_BYTES = 65_536;
/** Identities that are handed on; the others are checked and counted only. */
export const MAX_PSK_IDENTITIES = 8;
/** Protocol names that are handed on; real clients offer two or three. */
export const MAX_ALPN_NAMES = 16;

/** Every reason there is, each with its phrase; names are stable, they label counters. */
export const NOT_TLS = {
  http: 'plain HTTP on a TLS port',
  'proxy-header': 'a PROXY protocol header that nobody asked for',
  ssl2: 'an SSL 2 hello (RFC 6176 forbids it)',
  'not-handshake': 'the first record is no handshake record',
  'record-version': 'a record whose major version is not 3',
  'record-empty': 'a handshake record without a byte (RFC 8446 §5.1)',
  'bytes-after-hello': 'the record goes on after the hello (RFC 8446 §5.1)',
  'record-too-large': 'a plaintext record of more than 2^14 bytes (RFC 8446 §5.1)',
  'record-type': 'another kind of record in the middle of the hello',
  'not-client-hello': 'a handshake message, but not a ClientHello',
  'too-large': 'a hello that does not fit into 65,536 raw bytes',
  'hello-short': 'a hello shorter than its fixed fields',
  'hello-version': 'a hello below SSL 3',
  'bad-session-id': 'legacy_session_id',
  'bad-cipher-suites': 'cipher_suites',
  'bad-compression': 'legacy_compression_methods',
  'bad-extensions': 'the list of extensions',
  'duplicate-extension': 'an extension that we read is there twice (RFC 8446 §4.2)',
  'bad-server-name': 'server_name (RFC 6066 §3)',
  'bad-alpn': 'application_layer_protocol_negotiation (RFC 7301 §3.1)',
  'bad-supported-versions': 'supported_versions (RFC 8446 §4.2.1)',
  'bad-pre-shared-key': 'pre_shared_key (RFC 8446 §4.2.11)',
} as const;

export type NotTlsReason = keyof typeof NOT_TLS;

/**
 * A whole hello. Byte fields are views: of the bytes given when the hello lies in one record, of a
 * copy otherwise. Whoever keeps one beyond the next use of that buffer copies it.
 */
export interface ClientHello {
  readonly kind: 'hello';
  /** Raw bytes up to the end of the message, record headers included. */
  readonly consumed: number;
  /** 0x0303 in every TLS 1.2 and 1.3 hello. */
  readonly legacyVersion: number;
  /** 0..32 bytes. A 1.3 client sends noise here (RFC 8446 §D.4), or a real 1.2 session ID. */
  readonly legacySessionId: Uint8Array;
  /** Pairs of bytes, as sent, GREASE (RFC 8701) included. */
  readonly cipherSuites: Uint8Array;
  /** As sent, GREASE included; empty when the extension is absent. */
  readonly supportedVersions: readonly number[];
  /** 0x0304 is among `supportedVersions`. */
  readonly offersTls13: boolean;
  /** Host name, lower case, otherwise as sent (not validated as a DNS name); null when absent. */
  readonly sni: string | null;
  /** The first 16 names, as sent (latin1), GREASE included. */
  readonly alpn: readonly string[];
  /** The first 8 identities. */
  readonly pskIdentities: readonly Uint8Array[];
  /** How many identities there are. */
  readonly pskCount: number;
}

export type HelloVerdict =
  | ClientHello
  /** No verdict before at least `needed` raw bytes are there in all. */
  | { readonly kind: 'incomplete'; readonly needed: number }
  | { readonly kind: 'not-tls'; readonly reason: NotTlsReason };

/**
 * Decide about the bytes that came off the socket so far. The verdict on a prefix is `incomplete` or
 * the final one: everything is decided at the first byte that decides it, in order.
 *
 * @param bytes raw bytes since the connection's first; bytes behind the hello are ignored.
 */
export function parseClientHello(bytes: Uint8Array): HelloVerdict {
  const scan = scanRecords(bytes);
  return scan.kind === 'whole' ? parseBody(scan.body, scan.consumed) : scan;
}

const RECORD_HEADER = 5;
const HANDSHAKE_HEADER = 4;
/** Where the body starts when the whole message lies in the first record. */
const WHOLE_BODY = RECORD_HEADER + HANDSHAKE_HEADER;
const CONTENT_TYPE_HANDSHAKE = 22;
const MAX_RECORD = 16_384;
const MSG_CLIENT_HELLO = 1;
/** version 2, random 32, empty session id 1, one suite 4, one compression method 2. */
const MIN_BODY = 41;

const EXT_SERVER_NAME = 0;
const EXT_ALPN = 16;
const EXT_PRE_SHARED_KEY = 41;
const EXT_SUPPORTED_VERSIONS = 43;

type Undecided = Exclude<HelloVerdict, ClientHello>;
type Scan = { readonly kind: 'whole'; readonly body: Uint8Array; readonly consumed: number };

function notTls(reason: NotTlsReason): Undecided {
  return { kind: 'not-tls', reason };
}

function incomplete(needed: number): Undecided {
  return { kind: 'incomplete', needed };
}

/**
 * Records to the body of one handshake message (RFC 8446 §5.1): a message may be cut anywhere, its
 * four header bytes included.
 *
 *     type 1 │ version 2 │ length 2 │ fragment …
 */
function scanRecords(bytes: Uint8Array): Scan | Undecided {
  const first = bytes[0];
  if (first === undefined) return incomplete(1);
  if (first !== CONTENT_TYPE_HANDSHAKE) return nameForeign(bytes);

  let at = 0; // raw offset of the current record
  let got = 0; // bytes of the message in the records so far
  let header = 0; // the first four of them: type and length
  for (;;) {
    const type = bytes[at];
    const major = bytes[at + 1];
    const high = bytes[at + 3];
    const low = bytes[at + 4];
    if (type === undefined) return incomplete(at + 1);
    if (type !== CONTENT_TYPE_HANDSHAKE) return notTls('record-type');
    if (major === undefined) return incomplete(at + 2);
    // The minor one "MUST be ignored for all purposes" (§5.1); SSL 3 to TLS 1.3 have major 3.
    if (major !== 3) return notTls('record-version');
    if (high === undefined || low === undefined) return incomplete(at + RECORD_HEADER);
    const length = (high << 8) | low;
    if (length === 0) return notTls('record-empty');
    if (length > MAX_RECORD) return notTls('record-too-large');

    let next = at + RECORD_HEADER;
    const end = next + length;
    while (got < HANDSHAKE_HEADER && next < end) {
      const byte = bytes[next];
      if (byte === undefined) return incomplete(next + 1);
      if (got === 0 && byte !== MSG_CLIENT_HELLO) return notTls('not-client-hello');
      header = (header << 8) | byte;
      got++;
      next++;
    }
    if (got >= HANDSHAKE_HEADER) {
      const total = HANDSHAKE_HEADER + (header & 0xff_ffff);
      if (total < HANDSHAKE_HEADER + MIN_BODY) return notTls('hello-short');
      const taken = Math.min(end - next, total - got);
      next += taken;
      got += taken;
      const missing = total - got;
      // The rest takes at least this many records: no need to gather 64 KiB to know.
      const headers = RECORD_HEADER * Math.ceil(missing / MAX_RECORD);
      if (next + missing + headers > MAX_HELLO_BYTES) return notTls('too-large');
      if (next > bytes.length) return incomplete(next);
      if (missing === 0) {
        // No server looks at a record before it is whole: it would stay silent, and be blamed for it.
        if (next !== end) return notTls('bytes-after-hello');
        const body = at === 0 ? bytes.subarray(WHOLE_BODY, next) : join(bytes, next, total);
        return { kind: 'whole', body, consumed: next };
      }
    }
    at = end;
  }
}

/** The message's body, out of several records that `scanRecords` has checked. */
function join(bytes: Uint8Array, consumed: number, total: number): Uint8Array {
  const message = new Uint8Array(total);
  let filled = 0;
  for (let at = 0; at < consumed; ) {
    const start = at + RECORD_HEADER;
    at = start + (((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number));
    message.set(bytes.subarray(start, Math.min(at, consumed)), filled);
    filled += Math.min(at, consumed) - start;
  }
  return message.subarray(HANDSHAKE_HEADER);
}

const HTTP_METHODS = [
  'GET ',
  'POST',
  'HEAD',
  'PUT ',
  'OPTI',
  'CONN',
  'DELE',
  'PATC',
  'TRAC',
  'PRI ',
];
const PROXY_HEADERS = ['PROX', '\r\n\r\n'];

/** What else knocks on port 443: operators want to know which. Four bytes are enough. */
function nameForeign(bytes: Uint8Array): Undecided {
  const length = Math.min(bytes.length, 4);
  let start = '';
  for (let i = 0; i < length; i++) start += String.fromCharCode(bytes[i] as number);

  // SSL 2: two bytes of length with the high bit set, then the message type.
  if (start.charCodeAt(0) & 0x80) {
    if (length < 3) return incomplete(3);
    return notTls(bytes[2] === MSG_CLIENT_HELLO ? 'ssl2' : 'not-handshake');
  }
  const isStart = (word: string): boolean => word.startsWith(start);
  const http = HTTP_METHODS.some(isStart);
  const proxy = PROXY_HEADERS.some(isStart);
  if (!http && !proxy) return notTls('not-handshake');
  if (length < 4) return incomplete(length + 1); // the next byte may already rule the word out
  return notTls(http ? 'http' : 'proxy-header');
}

/** Reads forward inside [at, end). */
interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
}

/** The next byte or two; -1 when they are not there. */
function u8(cursor: Cursor): number {
  return cursor.at < cursor.end ? (cursor.bytes[cursor.at++] as number) : -1;
}

function u16(cursor: Cursor): number {
  if (cursor.end - cursor.at < 2) return -1;
  const value =
    ((cursor.bytes[cursor.at] as number) << 8) | (cursor.bytes[cursor.at + 1] as number);
  cursor.at += 2;
  return value;
}

/** A vector of `length` bytes (RFC 8446 §3.4), passed over; null when it is not all there. */
function vector(cursor: Cursor, length: number): Cursor | null {
  if (length < 0 || length > cursor.end - cursor.at) return null;
  const inner = { bytes: cursor.bytes, at: cursor.at, end: cursor.at + length };
  cursor.at = inner.end;
  return inner;
}

function view({ bytes, at, end }: Cursor): Uint8Array {
  return bytes.subarray(at, end);
}

function text({ bytes, at, end }: Cursor): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, end - at).toString('latin1');
}

/** What the extensions say; `seen` has a bit for each kind that was read. */
interface Extensions {
  seen: number;
  supportedVersions: readonly number[];
  sni: string | null;
  alpn: readonly string[];
  pskIdentities: readonly Uint8Array[];
  pskCount: number;
}

/**
 *     legacy_version 2 │ random 32 │ session_id<0..32> │ cipher_suites<2..2^16-2>
 *     │ compression_methods<1..2^8-1> │ extensions<8..2^16-1> (absent in an old 1.2 hello)
 */
function parseBody(body: Uint8Array, consumed: number): HelloVerdict {
  const cursor: Cursor = { bytes: body, at: 0, end: body.length };
  const legacyVersion = u16(cursor);
  if (legacyVersion < 0x0300) return notTls('hello-version');
  vector(cursor, 32);

  const sessionId = vector(cursor, u8(cursor));
  if (sessionId === null || sessionId.end - sessionId.at > 32) return notTls('bad-session-id');

  const suites = vector(cursor, u16(cursor));
  const suiteBytes = suites === null ? 0 : suites.end - suites.at;
  if (suites === null || suiteBytes < 2 || suiteBytes % 2 !== 0) return notTls('bad-cipher-suites');

  const compression = vector(cursor, u8(cursor));
  if (compression === null || compression.at === compression.end) return notTls('bad-compression');

  const found: Extensions = {
    seen: 0,
    supportedVersions: [],
    sni: null,
    alpn: [],
    pskIdentities: [],
    pskCount: 0,
  };
  const reason = cursor.at === cursor.end ? null : parseExtensions(cursor, found);
  if (reason !== null) return notTls(reason);

  return {
    kind: 'hello',
    consumed,
    legacyVersion,
    legacySessionId: view(sessionId),
    cipherSuites: view(suites),
    supportedVersions: found.supportedVersions,
    offersTls13: found.supportedVersions.includes(0x0304),
    sni: found.sni,
    alpn: found.alpn,
    pskIdentities: found.pskIdentities,
    pskCount: found.pskCount,
  };
}

/** `extension_type 2 │ extension_data<0..2^16-1>`, again and again; nothing may follow the list. */
function parseExtensions(cursor: Cursor, found: Extensions): NotTlsReason | null {
  const list = vector(cursor, u16(cursor));
  if (list === null || cursor.at !== cursor.end) return 'bad-extensions';
  while (list.at < list.end) {
    const type = u16(list);
    const data = vector(list, u16(list));
    if (data === null) return 'bad-extensions';
    const reason = parseExtension(type, data, found);
    if (reason !== null) return reason;
    // "MUST be the last extension in the ClientHello" (§4.2.11).
    if (type === EXT_PRE_SHARED_KEY && list.at !== list.end) return 'bad-pre-shared-key';
  }
  return null;
}

function parseExtension(type: number, data: Cursor, found: Extensions): NotTlsReason | null {
  switch (type) {
    case EXT_SERVER_NAME:
      return readOnce(found, 1) ?? parseServerName(data, found);
    case EXT_ALPN:
      return readOnce(found, 2) ?? parseAlpn(data, found);
    case EXT_SUPPORTED_VERSIONS:
      return readOnce(found, 4) ?? parseSupportedVersions(data, found);
    case EXT_PRE_SHARED_KEY:
      return parsePreSharedKey(data, found);
    default:
      return null;
  }
}

function readOnce(found: Extensions, bit: number): NotTlsReason | null {
  if (found.seen & bit) return 'duplicate-extension';
  found.seen |= bit;
  return null;
}

/** `server_name_list<1..2^16-1>` of `name_type 1 │ HostName<1..2^16-1>`; one host_name at most. */
function parseServerName(data: Cursor, found: Extensions): NotTlsReason | null {
  const list = vector(data, u16(data));
  if (list === null || data.at !== data.end || list.at === list.end) return 'bad-server-name';
  while (list.at < list.end) {
    const type = u8(list);
    const name = vector(list, u16(list));
    if (name === null) return 'bad-server-name';
    if (type !== 0) continue; // only host_name(0) was ever defined
    const length = name.end - name.at;
    if (found.sni !== null || length === 0 || length > 255) return 'bad-server-name';
    found.sni = text(name).toLowerCase();
    if (found.sni.includes('\0')) return 'bad-server-name';
  }
  return null;
}

/** `protocol_name_list<2..2^16-1>` of `ProtocolName<1..2^8-1>`. */
function parseAlpn(data: Cursor, found: Extensions): NotTlsReason | null {
  const list = vector(data, u16(data));
  if (list === null || data.at !== data.end || list.at === list.end) return 'bad-alpn';
  const names: string[] = [];
  while (list.at < list.end) {
    const name = vector(list, u8(list));
    if (name === null || name.at === name.end) return 'bad-alpn';
    if (names.length < MAX_ALPN_NAMES) names.push(text(name));
  }
  found.alpn = names;
  return null;
}

/** `versions<2..254>` of two bytes each. */
function parseSupportedVersions(data: Cursor, found: Extensions): NotTlsReason | null {
  const list = vector(data, u8(data));
  const length = list === null ? 0 : list.end - list.at;
  if (list === null || data.at !== data.end || length < 2 || length % 2 !== 0) {
    return 'bad-supported-versions';
  }
  const versions: number[] = [];
  while (list.at < list.end) versions.push(u16(list));
  found.supportedVersions = versions;
  return null;
}

/**
 *     identities<7..2^16-1> of ( identity<1..2^16-1> │ obfuscated_ticket_age 4 )
 *     │ binders<33..2^16-1> of ( binder<32..255> ), as many as identities
 */
function parsePreSharedKey(data: Cursor, found: Extensions): NotTlsReason | null {
  const list = vector(data, u16(data));
  if (list === null || list.at === list.end) return 'bad-pre-shared-key';
  const identities: Uint8Array[] = [];
  let count = 0;
  while (list.at < list.end) {
    const identity = vector(list, u16(list));
    const age = vector(list, 4);
    if (identity === null || age === null || identity.at === identity.end) {
      return 'bad-pre-shared-key';
    }
    if (count < MAX_PSK_IDENTITIES) identities.push(view(identity));
    count++;
  }
  const binders = vector(data, u16(data));
  if (binders === null || data.at !== data.end) return 'bad-pre-shared-key';
  let bound = 0;
  while (binders.at < binders.end) {
    const binder = vector(binders, u8(binders));
    if (binder === null || binder.end - binder.at < 32) return 'bad-pre-shared-key';
    bound++;
  }
  if (bound !== count) return 'bad-pre-shared-key';
  found.pskIdentities = identities;
  found.pskCount = count;
  return null;
}
