/**
 * One TLS connection by node:tls, with everything that it can be asked for and everything that it saw.
 * (`cli/visit.ts` is the plain one: a page, resumed or not.)
 */
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import { testFiles } from './files.ts';

const PATIENCE_MS = 10_000;
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

export type To = { readonly host: string; readonly port: number } | { readonly path: string };

/** What a call saw, from connect to end. */
export interface Heard {
  readonly protocol: string;
  readonly cipher: string;
  readonly alpn: string | false | null;
  /** Key type of the server's certificate: `rsa` or `ec`. */
  readonly certificate: string;
  /** SHA-256 of the server's certificate. */
  readonly fingerprint: string;
  readonly resumed: boolean;
  /** The latest session that the server gave. */
  readonly session: Buffer | null;
  /** What the client will offer of it, in either version. */
  readonly sessionId: Buffer | null;
  readonly ticket: Buffer | null;
  /** Of an answer 200; otherwise empty. */
  readonly body: string;
  /** OpenSSL's or the system's code, or null. */
  readonly error: string | null;
}

/** Connect, ask for the page, and tell. Never rejects: what went wrong is part of what was seen. */
export async function call(to: To, tls: TlsOptions = {}): Promise<Heard> {
  const socket = await open(to, tls);
  return new Promise((resolve) => {
    let text = '';
    let session: Buffer | null = null;
    let ticket: Buffer | null = null;
    let secure: Pick<
      Heard,
      'protocol' | 'cipher' | 'alpn' | 'certificate' | 'fingerprint' | 'resumed'
    > = { protocol: '', cipher: '', alpn: null, certificate: '', fingerprint: '', resumed: false };
    const end = (error: string | null): void => {
      clearTimeout(patience);
      socket.destroy();
      const sessionId = session === null ? null : sessionIdOf(session);
      const body = text.startsWith('HTTP/1.1 200 ') ? (text.split('\r\n\r\n')[1] ?? '') : '';
      resolve({ ...secure, session, sessionId, ticket, body, error });
    };
    const patience = setTimeout(() => end('no answer in time'), PATIENCE_MS);
    socket.on('session', (given) => {
      session = given;
      ticket = socket.getTLSTicket() ?? null;
    });
    socket.once('secureConnect', () => {
      const peer = socket.getPeerX509Certificate();
      secure = {
        protocol: socket.getProtocol() ?? '',
        cipher: socket.getCipher().name,
        alpn: socket.alpnProtocol,
        certificate: peer?.publicKey.asymmetricKeyType ?? '',
        fingerprint: peer?.fingerprint256 ?? '',
        resumed: socket.isSessionReused(),
      };
      socket.write(REQUEST);
    });
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.once('end', () => end(null));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.once('close', () => end('closed early'));
  });
}

/** A connection that a test holds on to: what comes back is awaited by its bytes. */
export interface Held {
  /** Send, and wait until as many bytes have come back. The origin is an echo. */
  echo(text: string): Promise<string>;
  /** Say goodbye (close_notify, FIN) and wait for the other side's. */
  end(): Promise<void>;
  /** Null: it ended in order. Otherwise the error's code. */
  readonly closed: Promise<string | null>;
  readonly resumed: boolean;
}

/** Resolves after the handshake; rejects if there was none. */
export async function hold(to: To, tls: TlsOptions = {}): Promise<Held> {
  const socket = await open(to, tls);
  let text = '';
  let ended = false;
  let failed: string | null = null;
  let heard = (): void => {};
  const closed = new Promise<string | null>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => {
      failed ??= error.code ?? error.message;
    });
    socket.once('end', () => {
      ended = true;
    });
    socket.once('close', () => {
      resolve(failed ?? (ended ? null : 'closed early'));
      heard();
    });
  });
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    heard();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    void closed.then((error) => reject(new Error(`no handshake: ${error}`)));
  });
  return {
    echo(sent) {
      const wanted = text.length + sent.length;
      socket.write(sent);
      return new Promise((resolve, reject) => {
        heard = (): void => {
          if (text.length >= wanted) resolve(text.slice(wanted - sent.length));
          else if (socket.destroyed) reject(new Error(`closed before the echo: ${failed}`));
        };
        heard();
      });
    },
    async end() {
      socket.end();
      await closed;
    },
    closed,
    resumed: socket.isSessionReused(),
  };
}

/** What a call was given to come back with; it fails the test if there was nothing. */
export function sessionOf({ session, error }: Heard): Buffer {
  if (session === null) throw new Error(`no session was given (${error ?? 'no error'})`);
  return session;
}

/** The same session with one bit of what the client offers changed. */
export function tampered(heard: Heard): Buffer {
  const changed = Buffer.from(sessionOf(heard));
  const offered = heard.ticket ?? heard.sessionId ?? Buffer.alloc(0);
  const at = changed.lastIndexOf(offered) + offered.length - 1;
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
}

/**
 * The session ID inside a session of node:tls: OpenSSL's DER after something of node's own.
 *
 *     SEQUENCE { version INTEGER 1, protocol INTEGER 0x0303 or 0x0304, cipher OCTET STRING (2 bytes),
 *                session_id OCTET STRING, … }
 */
function sessionIdOf(session: Buffer): Buffer {
  const version = session.indexOf(Buffer.from('020101020203', 'hex'));
  if (version < 0) throw new Error('not a session that we understand');
  // Past the protocol's second byte and the cipher, with their tags and lengths.
  const octets = version + 7 + 4;
  return session.subarray(octets + 2, octets + 2 + (session[octets + 1] ?? 0));
}

/** What a client can be told beyond the address; the types of node forget `localAddress`. */
export type TlsOptions = ConnectionOptions & { readonly localAddress?: string };

async function open(to: To, tls: TlsOptions): Promise<TLSSocket> {
  const { ca } = await testFiles();
  const where = 'path' in to ? { path: to.path } : { host: to.host, port: to.port };
  return connect({ ...where, ca, servername: 'localhost', ...tls });
}
