/** Origins that behave as told, on loopback. Each is closed with its test. */
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { page } from '../../cli/demo-origin.ts';

/** What an origin does with a connection. */
export type Behaviour =
  /** Answers one HTTP request with the demo page that names it, and closes. */
  | { readonly kind: 'page'; readonly name: string }
  /** Sends back what it gets, and ends when the client has ended. */
  | { readonly kind: 'echo' }
  /** Reads to the client's end, and only then says how many bytes there were: half-close. */
  | { readonly kind: 'count' }
  /** After the first byte sends so many bytes of a known pattern, and ends. */
  | { readonly kind: 'source'; readonly bytes: number }
  /** Accepts and never says a word. */
  | { readonly kind: 'silent' }
  /** Resets after the first byte. */
  | { readonly kind: 'reset' }
  /** Whatever a test needs. */
  | { readonly kind: 'custom'; readonly serve: (socket: Socket) => void };

export interface Origin {
  readonly port: number;
  /** For `--upstream`. */
  readonly address: string;
  /** All that were ever accepted. */
  readonly connections: number;
  /** Open now. */
  readonly open: number;
  close(): Promise<void>;
}

export interface Cleanup {
  after(fn: () => unknown): void;
}

export async function startOrigin(t: Cleanup, behaviour: Behaviour): Promise<Origin> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // The other side of a walk may go at any time: that is its subject, not our failure.
    socket.on('error', () => {});
    serve(socket, behaviour);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  t.after(close);
  return {
    port,
    address: `127.0.0.1:${port}`,
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    close,
  };
}

function serve(socket: Socket, behaviour: Behaviour): void {
  switch (behaviour.kind) {
    case 'page':
      return servePage(socket, page(behaviour.name));
    case 'echo':
      socket.pipe(socket);
      return;
    case 'count':
      return serveCount(socket);
    case 'source':
      socket.once('data', () => sendPattern(socket, 0, behaviour.bytes));
      return;
    case 'silent':
      socket.resume();
      return;
    case 'reset':
      socket.once('data', () => socket.resetAndDestroy());
      return;
    case 'custom':
      return behaviour.serve(socket);
  }
}

function servePage(socket: Socket, body: string): void {
  let request = '';
  socket.on('data', (chunk) => {
    request += chunk.toString('latin1');
    if (!request.includes('\r\n\r\n')) return;
    request = '';
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    socket.end(head + body);
  });
  socket.on('end', () => socket.end());
}

function serveCount(socket: Socket): void {
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  socket.on('end', () => socket.end(`${bytes}`));
}

const BLOCK = 65_536;

function sendPattern(socket: Socket, from: number, bytes: number): void {
  let at = from;
  while (at < bytes) {
    const block = pattern(at, Math.min(BLOCK, bytes - at));
    at += block.length;
    if (!socket.write(block)) {
      socket.once('drain', () => sendPattern(socket, at, bytes));
      return;
    }
  }
  socket.end();
}

/** Byte i is i mod 251 (a prime: no period of any buffer): a receiver can check every position. */
export function pattern(from: number, length: number): Buffer {
  const block = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) block[i] = (from + i) % 251;
  return block;
}
