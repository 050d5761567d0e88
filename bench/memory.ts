/** Memory of processes, and an origin before which connections stay idle. */
import { readFileSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 100;

/**
 * KiB of all these processes; a page that several share counts for each by its part. What the kernel
 * keeps for their sockets is not in it.
 */
export function proportionalKib(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      total += Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0);
    } catch {
      // Gone.
    }
  }
  return total;
}

/** Accepts, reads, never answers: whoever asked it has an established, idle connection. */
export class IdleOrigin {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Those that have asked for something. */
  readonly #waiting = new Set<Socket>();

  constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        this.#waiting.delete(socket);
      });
      socket.on('data', () => this.#waiting.add(socket));
    });
  }

  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () =>
        resolve((this.#server.address() as AddressInfo).port),
      );
    });
  }

  /** Until so many wait for an answer; resolves with how many do when patience is over. */
  async waitFor(count: number, patienceMs: number): Promise<number> {
    for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += POLL_MS) {
      if (this.#waiting.size >= count) break;
      await delay(POLL_MS);
    }
    return this.#waiting.size;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
