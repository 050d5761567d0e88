/** One TLS connection by node:tls that asks for one page: the tour's client, and the tests'. */
import type { TLSSocket } from 'node:tls';
import { connect } from 'node:tls';

export type Version = 'TLSv1.2' | 'TLSv1.3';

export interface VisitOptions {
  readonly host: string;
  readonly port: number;
  /** PEM of the CA that the certificates have to lead to. */
  readonly ca: string;
  readonly version: Version;
  /** Source address; null: the kernel's choice. */
  readonly client: string | null;
  /** What an earlier visit was given; null: a full handshake. */
  readonly session: Buffer | null;
}

export interface Visit {
  readonly protocol: string;
  readonly resumed: boolean;
  /** The latest session that the server gave, or null. */
  readonly session: Buffer | null;
  /** From connect to the finished handshake. */
  readonly ms: number;
  /** Of an answer 200; otherwise empty. */
  readonly body: string;
  /** Why it did not come to its end, or null. */
  readonly error: string | null;
}

const VISIT_TIMEOUT_MS = 10_000;

/** Never rejects: what went wrong is part of what was seen. */
export function visit(options: VisitOptions): Promise<Visit> {
  const { client, version, session } = options;
  const startedAt = performance.now();
  return new Promise((resolve) => {
    let protocol = '';
    let resumed = false;
    let ms = 0;
    let latest: Buffer | null = null;
    let text = '';
    const socket: TLSSocket = connect({
      host: options.host,
      port: options.port,
      ca: options.ca,
      servername: 'localhost',
      ALPNProtocols: ['http/1.1'],
      minVersion: version,
      maxVersion: version,
      ...(client === null ? {} : { localAddress: client }),
      ...(session === null ? {} : { session }),
    });
    const end = (error: string | null): void => {
      clearTimeout(patience);
      socket.destroy();
      resolve({ protocol, resumed, session: latest, ms, body: bodyOf(text), error });
    };
    const patience = setTimeout(() => end('no answer in time'), VISIT_TIMEOUT_MS);
    // TLS 1.2 at the end of the handshake, TLS 1.3 whenever the ticket arrives.
    socket.on('session', (given) => {
      latest = given;
    });
    socket.once('secureConnect', () => {
      ms = performance.now() - startedAt;
      protocol = socket.getProtocol() ?? '';
      resumed = socket.isSessionReused();
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('utf8');
    });
    socket.once('end', () => end(null));
    socket.once('error', (error) => end(error.message));
    socket.once('close', () => end('closed early'));
  });
}

function bodyOf(response: string): string {
  const at = response.indexOf('\r\n\r\n');
  return at < 0 || !response.startsWith('HTTP/1.1 200 ') ? '' : response.slice(at + 4);
}
