/** Who is measured: each driver starts one server with one worker on one core. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface Site {
  /** PEM files, one key type only. */
  readonly cert: string;
  readonly key: string;
  readonly originPort: number;
  /** For configuration files and sockets. */
  readonly folder: string;
  readonly core: number;
}

export interface Server {
  readonly name: string;
  readonly version: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

/** A command pinned to a core, its output kept for the error message. */
export function startPinned(core: number, command: readonly string[]): ChildProcess {
  return spawn('taskset', ['-c', String(core), ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
}

export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}

/** Until something accepts on the port. */
export async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`the server on port ${port} ended at start`);
    if (await accepts(port)) return;
    await delay(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
