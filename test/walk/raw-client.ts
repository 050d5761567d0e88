/** TCP clients that send whatever a test wants, and see everything that comes back. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { bytesOf, loadRecordings } from '../hellos/recording.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';

export interface Seen {
  readonly bytes: Buffer;
  readonly ending: 'fin' | 'reset';
  /** From connect to the end. */
  readonly ms: number;
}

const PATIENCE_MS = 20_000;

export class RawClient {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #startedAt: number = performance.now();
  readonly #ended: Promise<Seen>;
  ending: Seen['ending'] | null = null;

  private constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
    this.socket.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
    this.#ended = new Promise((resolve) => {
      const end = (ending: Seen['ending']): void => {
        this.ending ??= ending;
        resolve({ bytes: this.bytes, ending, ms: performance.now() - this.#startedAt });
      };
      this.socket.once('end', () => end('fin'));
      this.socket.on('error', () => end('reset'));
      this.socket.once('close', () => end('reset'));
    });
  }

  static async open(port: number): Promise<RawClient> {
    const client = new RawClient(port);
    await once(client.socket, 'connect');
    return client;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  write(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  /** A FIN. */
  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** The first bytes of the server. */
  async answer(): Promise<Buffer> {
    if (this.#chunks.length === 0) {
      await Promise.race([
        new Promise((resolve) => this.socket.once('data', resolve)),
        this.ended(),
      ]);
    }
    return this.bytes;
  }

  /** What was seen when the server's direction had ended; our own is closed then too. */
  async ended(): Promise<Seen> {
    const impatience = setTimeout(
      () => this.socket.destroy(new Error('the server says nothing')),
      PATIENCE_MS,
    );
    const seen = await this.#ended;
    clearTimeout(impatience);
    if (seen.ending === 'fin') this.socket.end();
    return seen;
  }
}

/** The bytes of a recorded hello by its name. */
export function recordedHello(name: string): Buffer {
  const found = loadRecordings().find((recording) => recording.name === name);
  if (found === undefined) throw new Error(`there is no recording ${name}`);
  return Buffer.from(bytesOf(found));
}

/** The first record is a handshake record whose first message is a ServerHello. */
export function isServerHello(bytes: Buffer): boolean {
  return bytes[0] === 22 && bytes[1] === 3 && bytes[5] === 2;
}

/**
 * A relay in front of `port` that passes on what clients send in pieces, with pauses, up to
 * `slowBytes`; the rest, and all answers, as they come. The port it listens on.
 */
export async function startTrickle(
  t: Cleanup,
  port: number,
  { pieceBytes, pauseMs, slowBytes }: { pieceBytes: number; pauseMs: number; slowBytes: number },
): Promise<number> {
  const origin = await startOrigin(t, {
    kind: 'custom',
    serve: (client) => {
      const server = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
      server.on('error', () => client.destroy());
      client.on('error', () => server.destroy());
      server.pipe(client);
      void (async () => {
        let sent = 0;
        for await (const chunk of client.iterator({ destroyOnReturn: false })) {
          const bytes = chunk as Buffer;
          for (let at = 0; at < bytes.length; ) {
            const slow = sent < slowBytes;
            const piece = slow ? bytes.subarray(at, at + pieceBytes) : bytes.subarray(at);
            server.write(piece);
            at += piece.length;
            sent += piece.length;
            if (slow) await delay(pauseMs);
          }
        }
        server.end();
      })().catch(() => server.destroy());
    },
  });
  return origin.port;
}
