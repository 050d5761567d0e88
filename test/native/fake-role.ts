/**
 * A role for the father's tests: node:net on the inherited socket, answering every connection with
 * its pid. The payload says how it misbehaves.
 */
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import { OperatorError } from '../../config/operator-error.ts';
import type { RunningSon, SonContext } from '../../native/son-contract.ts';

export interface FakePayload {
  readonly word: string;
  readonly fails?: 'operator' | 'crash' | 'exit';
}

export function startSon(payload: FakePayload, context: SonContext): RunningSon {
  if (payload.fails === 'operator') throw new OperatorError('fake-code', 'Fake: mend it.');
  if (payload.fails === 'crash') throw new Error('fake crash');
  if (payload.fails === 'exit') process.exit(7);
  const { promise: drained, resolve } = Promise.withResolvers<void>();
  const sockets = new Set<Socket>();
  let accepted = 0;
  let draining = false;
  const check = (): void => {
    if (draining && sockets.size === 0) resolve();
  };
  const server = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      check();
    });
    socket.write(`${payload.word} ${process.pid}\n`);
    socket.resume();
  });
  server.listen({ fd: context.listenFd });
  return {
    drain: () => {
      draining = true;
      server.close();
      check();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
    counters: () => ({ accepted, connections: sockets.size }),
    drained,
  };
}
