/**
 * A TLS 1.3 client of our own (RFC 8446), for what no library lets a test do: hellos of any size with
 * any identities, a FIN without close_notify, a close_notify without FIN, a reset in any state. One
 * suite (TLS_AES_128_GCM_SHA256), one group (X25519); it believes every certificate.
 */
import type { KeyObject } from 'node:crypto';
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import {
  byte,
  extension,
  frame,
  message,
  padding,
  serverName,
  supportedVersions,
  u16,
  vector16,
  vector8,
} from '../balancer/build-hello.ts';

/** What a server gave, to be offered again. */
export interface Ticket {
  readonly identity: Uint8Array;
  readonly secret: Uint8Array;
}

export interface HelloOptions {
  /** Identities of no meaning, with binders of no meaning. */
  readonly identities?: readonly Uint8Array[];
  /** A ticket that is meant, put before identity number `at` of those above. */
  readonly ticket?: Ticket;
  readonly at?: number;
  /** How many binders, if not one for each identity. */
  readonly binders?: number;
  /** Raw bytes with record headers, filled up by a padding extension (RFC 7685). */
  readonly rawBytes?: number;
  /** Fragments of the hello; 16,384 unless told. */
  readonly recordBytes?: number;
}

export interface ConnectOptions extends HelloOptions {
  readonly port: number;
  /** How the hello is sent; all at once unless told. */
  readonly send?: (socket: Socket, hello: Buffer) => Promise<void>;
}

const PATIENCE_MS = 20_000;
/** The most that a record may carry (section 5.1). */
const RECORD_BYTES = 16_384;

/** Resolves with the finished handshake; rejects with an alert, an end or a reset before it. */
export async function connectTls13(options: ConnectOptions): Promise<Tls13Client> {
  const socket = connect({ host: '127.0.0.1', port: options.port, allowHalfOpen: true });
  const client = new Tls13Client(socket, options);
  await once(socket, 'connect');
  socket.setNoDelay(true);
  const established = client.established;
  await (options.send?.(socket, client.hello) ?? socket.write(client.hello));
  await established;
  return client;
}

/** How the server's direction of the TCP connection ended. */
export type Ending = 'fin' | 'reset';

export class Tls13Client extends EventEmitter<{ data: [Buffer]; change: [] }> {
  readonly socket: Socket;
  /** The records of the ClientHello. */
  readonly hello: Buffer;
  readonly established: Promise<void>;
  resumed = false;
  /** The server's close_notify has come. */
  closeNotify = false;
  /** Its fatal alert, or -1. */
  alert = -1;
  ending: Ending | null = null;
  readonly received: Buffer[] = [];
  receivedBytes = 0;
  readonly tickets: Ticket[] = [];

  readonly #privateKey: KeyObject;
  readonly #ticket: Ticket | null;
  readonly #ticketAt: number;
  #transcript: Buffer[] = [];
  #raw: Buffer = Buffer.alloc(0);
  #messages: Buffer = Buffer.alloc(0);
  #reading: RecordKeys | null = null;
  #writing: RecordKeys | null = null;
  #secrets: { client: Buffer; server: Buffer; master: Buffer } | null = null;
  #resumption: Buffer | null = null;
  #done = false;

  constructor(socket: Socket, options: HelloOptions = {}) {
    super();
    this.socket = socket;
    const { privateKey, hello } = makeHello(options);
    this.#privateKey = privateKey;
    this.#ticket = options.ticket ?? null;
    this.#ticketAt = options.at ?? 0;
    this.#transcript.push(hello);
    this.hello = inRecords(hello, options);

    socket.on('data', (chunk: Buffer) => this.#feed(chunk));
    socket.once('end', () => this.#end('fin'));
    // ECONNRESET and EPIPE alike: the server is not there any more, and not in good order.
    socket.on('error', () => this.#end('reset'));
    socket.once('close', () => this.#end('reset'));
    this.established = this.#until('the handshake', () => this.#done || null, true).then(() => {});
    // Whoever resets on purpose does not wait for it.
    this.established.catch(() => {});
  }

  write(bytes: Uint8Array | string): void {
    const keys = this.#keysToWrite();
    const plain = Buffer.from(bytes);
    for (let at = 0; at < plain.length; at += RECORD_BYTES) {
      this.socket.write(keys.seal(23, plain.subarray(at, at + RECORD_BYTES)));
    }
  }

  /** "I have said everything", without a FIN. */
  sendCloseNotify(): void {
    this.socket.write(this.#keysToWrite().seal(21, Buffer.of(1, 0)));
  }

  /** As a client that closes in good order. */
  end(): void {
    this.sendCloseNotify();
    this.socket.end();
  }

  /** A FIN, and nothing before it: truncation. */
  endWithoutCloseNotify(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  text(): string {
    return Buffer.concat(this.received).toString('utf8');
  }

  ticket(): Promise<Ticket> {
    return this.#until('a ticket', () => this.tickets[0] ?? null, true);
  }

  ended(): Promise<Ending> {
    return this.#until('the end', () => this.ending, false);
  }

  /** As many bytes of the server's as that, in all. */
  async receives(bytes: number): Promise<void> {
    await this.#until(`${bytes} bytes`, () => this.receivedBytes >= bytes || null, true);
  }

  /** `look` is asked after every change; an alert or the end is a reason to give up, if `alive`. */
  async #until<T>(what: string, look: () => T | null, alive: boolean): Promise<T> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      const found = look();
      if (found !== null) return found;
      if (alive && this.alert >= 0) throw new Error(`${what}: alert ${this.alert}`);
      if (alive && this.ending !== null) throw new Error(`${what}: ended by ${this.ending}`);
      try {
        await once(this, 'change', { signal });
      } catch {
        throw new Error(`waited in vain for ${what}`);
      }
    }
  }

  #end(how: Ending): void {
    this.ending ??= how;
    this.emit('change');
  }

  #keysToWrite(): RecordKeys {
    if (this.#writing === null) throw new Error('no keys yet');
    return this.#writing;
  }

  #feed(chunk: Buffer): void {
    this.#raw = this.#raw.length === 0 ? chunk : Buffer.concat([this.#raw, chunk]);
    let at = 0;
    while (this.#raw.length - at >= 5) {
      const length = this.#raw.readUInt16BE(at + 3);
      if (this.#raw.length - at < 5 + length) break;
      this.#record(this.#raw.subarray(at, at + 5 + length));
      at += 5 + length;
    }
    this.#raw = this.#raw.subarray(at);
    this.emit('change');
  }

  /** RFC 8446 section 5. */
  #record(record: Buffer): void {
    const type = record[0] as number;
    if (type === 20) return; // change_cipher_spec, for middle boxes (appendix D.4)
    if (type !== 23 || this.#reading === null) return this.#content(type, record.subarray(5));
    const inner = this.#reading.open(record);
    this.#content(inner.type, inner.bytes);
  }

  #content(type: number, bytes: Buffer): void {
    if (type === 21) {
      if (bytes[1] === 0) this.closeNotify = true;
      else this.alert = bytes[1] ?? 255;
    } else if (type === 23) {
      // Nobody who listens for data wants it kept.
      if (this.listenerCount('data') === 0) this.received.push(bytes);
      this.receivedBytes += bytes.length;
      this.emit('data', bytes);
    } else if (type === 22) {
      this.#messages = Buffer.concat([this.#messages, bytes]);
      while (this.#messages.length >= 4) {
        const end = 4 + this.#messages.readUIntBE(1, 3);
        if (this.#messages.length < end) return;
        const whole = this.#messages.subarray(0, end);
        this.#messages = this.#messages.subarray(end);
        this.#handshake(whole);
      }
    }
  }

  #handshake(whole: Buffer): void {
    const type = whole[0] as number;
    if (type === 4) return this.#newSessionTicket(whole);
    if (type === 2) {
      this.#transcript.push(whole);
      return this.#serverHello(whole);
    }
    if (type === 20) return this.#finished(whole);
    this.#transcript.push(whole);
  }

  /** Section 4.1.3 and the first half of 7.1. */
  #serverHello(whole: Buffer): void {
    const session = 4 + 2 + 32;
    let at = session + 1 + (whole[session] as number) + 2 + 1 + 2;
    let share: Buffer | null = null;
    while (at < whole.length) {
      const type = whole.readUInt16BE(at);
      const data = whole.subarray(at + 4, at + 4 + whole.readUInt16BE(at + 2));
      if (type === 51) share = data.subarray(4);
      if (type === 41) this.resumed = data.readUInt16BE(0) === this.#ticketAt;
      at += 4 + data.length;
    }
    if (share?.length !== 32) throw new Error('no X25519 share: a HelloRetryRequest?');
    const point = share.toString('base64url');
    const publicKey = createPublicKey({
      key: { kty: 'OKP', crv: 'X25519', x: point },
      format: 'jwk',
    });
    const shared = diffieHellman({ privateKey: this.#privateKey, publicKey });
    const early = extract(EMPTY, this.resumed ? (this.#ticket as Ticket).secret : ZEROS);
    const handshake = extract(derive(early, 'derived', NOTHING), shared);
    const hash = this.#hash();
    this.#secrets = {
      client: derive(handshake, 'c hs traffic', hash),
      server: derive(handshake, 's hs traffic', hash),
      master: extract(derive(handshake, 'derived', NOTHING), ZEROS),
    };
    this.#reading = new RecordKeys(this.#secrets.server);
    this.#writing = new RecordKeys(this.#secrets.client);
  }

  /** Section 4.4.4 and the rest of 7.1: theirs is checked, ours sent. */
  #finished(whole: Buffer): void {
    const secrets = this.#secrets;
    if (secrets === null) throw new Error('Finished before ServerHello');
    if (!finishedMac(secrets.server, this.#hash()).equals(whole.subarray(4))) {
      throw new Error('the server computes other keys');
    }
    this.#transcript.push(whole);
    const hash = this.#hash();
    const ours = Buffer.from(message(20, finishedMac(secrets.client, hash)));
    this.socket.write(this.#keysToWrite().seal(22, ours));
    this.#transcript.push(ours);
    this.#reading = new RecordKeys(derive(secrets.master, 's ap traffic', hash));
    this.#writing = new RecordKeys(derive(secrets.master, 'c ap traffic', hash));
    this.#resumption = derive(secrets.master, 'res master', this.#hash());
    this.#transcript = [];
    this.#done = true;
  }

  /** Section 4.6.1: lifetime 4, age_add 4, nonce<0..255>, ticket<1..2^16-1>. */
  #newSessionTicket(whole: Buffer): void {
    if (this.#resumption === null) throw new Error('a ticket before the handshake is done');
    const nonceEnd = 13 + (whole[12] as number);
    const length = whole.readUInt16BE(nonceEnd);
    this.tickets.push({
      identity: Buffer.from(whole.subarray(nonceEnd + 2, nonceEnd + 2 + length)),
      secret: expandLabel(this.#resumption, 'resumption', whole.subarray(13, nonceEnd), 32),
    });
  }

  #hash(): Buffer {
    return sha256(Buffer.concat(this.#transcript));
  }
}

/** A hello in its records, for whoever does not mean to finish the handshake. */
export function helloBytes(options: HelloOptions = {}): Buffer {
  return inRecords(makeHello(options).hello, options);
}

function inRecords(hello: Buffer, options: HelloOptions): Buffer {
  return Buffer.from(frame(hello, [options.recordBytes ?? RECORD_BYTES]));
}

/** The handshake message, the ticket's binder computed. */
function makeHello(options: HelloOptions): { privateKey: KeyObject; hello: Buffer } {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const point = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const identities = [...(options.identities ?? [])];
  const at = options.at ?? 0;
  if (options.ticket !== undefined) identities.splice(at, 0, options.ticket.identity);
  const binders = options.binders ?? identities.length;
  const psk =
    identities.length === 0
      ? []
      : [
          extension(
            41,
            Buffer.concat([
              vector16(Buffer.concat(identities.map((id) => [vector16(id), AGE]).flat())),
              vector16(Buffer.concat(new Array<Uint8Array>(binders).fill(EMPTY_BINDER))),
            ]),
          ),
        ];
  const random = randomBytes(32);
  const make = (filling: readonly Uint8Array[]): Buffer => {
    const extensions = [
      serverName('localhost'),
      extension(10, vector16(u16(29))), // supported_groups: x25519
      // rsa_pss_rsae_sha256 first, ecdsa_secp256r1_sha256
      extension(13, vector16(Buffer.concat([u16(0x0804), u16(0x0403)]))),
      supportedVersions(0x0304),
      extension(45, vector8(byte(1))), // psk_key_exchange_modes: psk_dhe_ke
      extension(51, vector16(Buffer.concat([u16(29), vector16(point)]))), // key_share
      ...filling,
      ...psk,
    ];
    const body = Buffer.concat([
      u16(0x0303),
      random,
      vector8(new Uint8Array(0)),
      vector16(u16(0x1301)),
      vector8(byte(0)),
      vector16(Buffer.concat(extensions)),
    ]);
    return Buffer.from(message(1, body));
  };
  let hello = make([]);
  if (options.rawBytes !== undefined) {
    const recordBytes = options.recordBytes ?? RECORD_BYTES;
    // Exact only if the headers fit too: the message is what remains after one per record.
    const records = Math.ceil(options.rawBytes / (recordBytes + 5));
    hello = make([padding(options.rawBytes - records * 5 - hello.length)]);
  }
  if (options.ticket !== undefined) {
    const bindersAt = hello.length - binders * EMPTY_BINDER.length - 2;
    const early = extract(EMPTY, options.ticket.secret);
    const key = derive(early, 'res binder', NOTHING);
    // Section 4.2.11.2: over everything before the list of binders.
    finishedMac(key, sha256(hello.subarray(0, bindersAt))).copy(
      hello,
      bindersAt + 2 + at * EMPTY_BINDER.length + 1,
    );
  }
  return { privateKey, hello };
}

/** One direction's traffic keys (section 7.3) and its record protection (5.2, 5.3). */
class RecordKeys {
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #sequence = 0;

  constructor(secret: Buffer) {
    this.#key = expandLabel(secret, 'key', EMPTY, 16);
    this.#iv = expandLabel(secret, 'iv', EMPTY, 12);
  }

  seal(type: number, plain: Buffer): Buffer {
    const header = Buffer.concat([byte(23), u16(0x0303), u16(plain.length + 17)]);
    const cipher = createCipheriv('aes-128-gcm', this.#key, this.#nonce());
    cipher.setAAD(header);
    return Buffer.concat([
      header,
      cipher.update(plain),
      cipher.update(byte(type)),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
  }

  open(record: Buffer): { type: number; bytes: Buffer } {
    const cipher = createDecipheriv('aes-128-gcm', this.#key, this.#nonce());
    cipher.setAAD(record.subarray(0, 5));
    cipher.setAuthTag(record.subarray(-16));
    const plain = Buffer.concat([cipher.update(record.subarray(5, -16)), cipher.final()]);
    let end = plain.length - 1;
    while (end > 0 && plain[end] === 0) end--;
    return { type: plain[end] as number, bytes: plain.subarray(0, end) };
  }

  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv);
    const sequence = this.#sequence++;
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ sequence) >>> 0, 8);
    return nonce;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);
const ZEROS: Buffer = Buffer.alloc(32);
const NOTHING: Buffer = sha256(EMPTY);
/** obfuscated_ticket_age: only early data depends on it. */
const AGE: Uint8Array = new Uint8Array(4);
const EMPTY_BINDER: Uint8Array = vector8(new Uint8Array(32));

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function hmac(key: Uint8Array, bytes: Uint8Array): Buffer {
  return createHmac('sha256', key).update(bytes).digest();
}

/** HKDF-Extract (RFC 5869); an empty salt is one of zeros. */
function extract(salt: Uint8Array, secret: Uint8Array): Buffer {
  return hmac(salt.length === 0 ? ZEROS : salt, secret);
}

/** RFC 8446 section 7.1; one block of HKDF-Expand is enough for 32 bytes. */
function expandLabel(
  secret: Uint8Array,
  label: string,
  context: Uint8Array,
  length: number,
): Buffer {
  const info = Buffer.concat([
    u16(length),
    vector8(Buffer.from(`tls13 ${label}`, 'latin1')),
    vector8(context),
    byte(1),
  ]);
  return hmac(secret, info).subarray(0, length);
}

function derive(secret: Uint8Array, label: string, hash: Uint8Array): Buffer {
  return expandLabel(secret, label, hash, 32);
}

function finishedMac(secret: Uint8Array, hash: Uint8Array): Buffer {
  return hmac(expandLabel(secret, 'finished', EMPTY, 32), hash);
}
