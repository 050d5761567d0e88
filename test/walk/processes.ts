/** What the kernel knows about processes: who lives, and whose socket it is. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { page } from '../../cli/demo-origin.ts';
import type { Cleanup, Origin } from './origin.ts';
import { startOrigin } from './origin.ts';

/** A zombie is dead: nobody but its parent can know. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** Whether anybody is left in the group that `pid` led. */
export function groupIsAlive(pid: number): boolean {
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name) || !isAlive(Number(name))) return false;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      // After the command in brackets: state, parent, group.
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) === pid;
    } catch {
      return false;
    }
  });
}

/** There is no event for the end of a process that is not one's child: look often. */
export async function gone(pids: readonly number[], timeoutMs: number): Promise<void> {
  await until(
    () => !pids.some(isAlive),
    timeoutMs,
    () => pids.filter(isAlive).join(),
  );
}

/** The same for all of a group. */
export async function groupGone(pid: number, timeoutMs: number): Promise<void> {
  await until(
    () => !groupIsAlive(pid),
    timeoutMs,
    () => `group ${pid}`,
  );
}

async function until(done: () => boolean, timeoutMs: number, who: () => string): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`still there: ${who()}`);
    await delay(10);
  }
}

/**
 * Which of these processes is at the other end of this connection on 127.0.0.1, or null. The table
 * has every TIME_WAIT of the machine in it: milliseconds, or a hundred of them after a burst.
 */
export function otherEnd(socket: Socket, pids: readonly number[]): number | null {
  const theirs = columnOf(socket.remotePort ?? 0);
  const ours = columnOf(socket.localPort ?? 0);
  const line = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((text) => text.trim().split(/\s+/))
    // local_address, rem_address; the inode is the tenth.
    .find((columns) => columns[1] === theirs && columns[2] === ours);
  if (line === undefined) return null;
  return pids.find((pid) => sockets(pid).includes(`socket:[${line[9]}]`)) ?? null;
}

/** 127.0.0.1 as the kernel prints it, for the byte order of every machine that we build for. */
function columnOf(port: number): string {
  return `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}

function sockets(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return '';
      }
    });
  } catch {
    return [];
  }
}

/** An origin whose page names the *process* that asked for it, one of `pids()`; asked of none, it says null. */
export function startOriginThatKnowsSons(
  t: Cleanup,
  pids: () => readonly number[],
): Promise<Origin> {
  return startOrigin(t, {
    kind: 'custom',
    serve: (socket) => {
      const among = pids();
      const owner = among.length === 0 ? null : otherEnd(socket, among);
      socket.once('data', () => {
        const body = page(String(owner));
        socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      });
    },
  });
}
