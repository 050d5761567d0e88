/** TLS servers (node:tls) that behave as told, good or bad, on loopback. Closed with their test. */
import { readFileSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { TlsOptions, TLSSocket } from 'node:tls';
import { createServer as createTlsServer } from 'node:tls';
import { testFiles } from '../walk/files.ts';
import type { Cleanup } from '../walk/origin.ts';

/** What it does with a request whose head is whole; `tcp` is the socket below, for resets and cuts. */
export type Answer = (tls: TLSSocket, tcp: Socket, head: string) => void;

/** Answers each request, bodies ignored, as told. Returns the port. */
export async function startTlsOrigin(
  t: Cleanup,
  answer: Answer,
  options: TlsOptions = {},
): Promise<number> {
  const { folder } = await testFiles();
  const read = (name: string): Buffer => readFileSync(join(folder, name));
  const server = createTlsServer({ cert: read('ec.crt'), key: read('ec.key'), ...options });
  // The TLS socket does not show the TCP socket below it: found by the client's port.
  const below = new Map<number, Socket>();
  server.on('connection', (tcp: Socket) => {
    const port = tcp.remotePort ?? 0;
    below.set(port, tcp);
    tcp.on('close', () => below.delete(port));
  });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (tls) => {
    tls.on('error', () => {});
    const tcp = below.get(tls.remotePort ?? 0);
    if (tcp === undefined) return;
    let text = '';
    tls.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end);
        text = text.slice(end + 4);
        answer(tls, tcp, head);
      }
    });
  });
  return listen(t, server);
}

/** A TCP server without any TLS. Returns the port. */
export function startTcp(t: Cleanup, serve: (socket: Socket) => void): Promise<number> {
  return listen(
    t,
    createServer((socket) => {
      socket.on('error', () => {});
      serve(socket);
    }),
  );
}

async function listen(t: Cleanup, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, resolve);
  });
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}
