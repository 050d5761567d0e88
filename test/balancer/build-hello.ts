/** ClientHellos made to measure, for the tests that cannot be recorded. */
export interface HelloParts {
  readonly legacyVersion?: number;
  readonly sessionId?: Uint8Array;
  readonly cipherSuites?: readonly number[];
  readonly compression?: Uint8Array;
  /** null = no extensions block at all, as in an old TLS 1.2 hello. */
  readonly extensions?: readonly Uint8Array[] | null;
  /** Fragment sizes, the last one repeated; [16384] unless told. */
  readonly records?: readonly number[];
  /** Version in the record headers; 0x0301 unless told. */
  readonly recordVersion?: number;
}

export function buildHello(parts: HelloParts = {}): Uint8Array {
  return frame(buildMessage(parts), parts.records ?? [16_384], parts.recordVersion);
}

/** The handshake message without records. */
export function buildMessage(parts: HelloParts): Uint8Array {
  const extensions = parts.extensions === undefined ? [] : parts.extensions;
  const body = Buffer.concat([
    u16(parts.legacyVersion ?? 0x0303),
    new Uint8Array(32).fill(0x5a),
    vector8(parts.sessionId ?? new Uint8Array(0)),
    vector16(Buffer.concat((parts.cipherSuites ?? [0x1301, 0xc02f]).map(u16))),
    vector8(parts.compression ?? new Uint8Array(1)),
    ...(extensions === null ? [] : [vector16(Buffer.concat(extensions))]),
  ]);
  return message(1, body);
}

export function message(type: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([byte(type), byte(body.length >> 16), u16(body.length & 0xffff), body]);
}

/** Cut a message into handshake records. */
export function frame(bytes: Uint8Array, sizes: readonly number[], version = 0x0301): Uint8Array {
  const records: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[Math.min(i, sizes.length - 1)] as number;
    const fragment = bytes.subarray(at, at + size);
    records.push(byte(22), u16(version), vector16(fragment));
    at += size;
  }
  return plain(Buffer.concat(records));
}

export function extension(type: number, data: Uint8Array): Uint8Array {
  return Buffer.concat([u16(type), vector16(data)]);
}

export function serverName(...names: string[]): Uint8Array {
  const entries = names.map((name) =>
    Buffer.concat([byte(0), vector16(Buffer.from(name, 'latin1'))]),
  );
  return extension(0, vector16(Buffer.concat(entries)));
}

export function alpn(...names: string[]): Uint8Array {
  return extension(
    16,
    vector16(Buffer.concat(names.map((n) => vector8(Buffer.from(n, 'latin1'))))),
  );
}

export function supportedVersions(...versions: number[]): Uint8Array {
  return extension(43, vector8(Buffer.concat(versions.map(u16))));
}

export function preSharedKey(identities: readonly Uint8Array[], binders?: number): Uint8Array {
  const list = identities.map((id) => Buffer.concat([vector16(id), new Uint8Array(4)]));
  const binder = vector8(new Uint8Array(32).fill(0xb1));
  const bound = new Array<Uint8Array>(binders ?? identities.length).fill(binder);
  return extension(
    41,
    Buffer.concat([vector16(Buffer.concat(list)), vector16(Buffer.concat(bound))]),
  );
}

/** An extension nobody reads, `length` bytes in all, header included. */
export function padding(length: number): Uint8Array {
  return extension(21, new Uint8Array(length - 4));
}

export function byte(value: number): Uint8Array {
  return Uint8Array.of(value & 255);
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

export function vector8(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([byte(bytes.length), bytes]);
}

export function vector16(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([u16(bytes.length), bytes]);
}

function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}
