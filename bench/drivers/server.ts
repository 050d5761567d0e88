/** Who is measured: each driver starts one server with one worker on one core. */
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { processTree } from '../cpu-time.ts';

export interface Site {
  /** PEM files, one key type only. */
  readonly cert: string;
  readonly key: string;
  readonly originPort: number;
  /** For configuration files and sockets. */
  readonly folder: string;
  readonly core: number;
  /** Stateless session tickets; else sessions are the server's to keep. */
  readonly tickets: boolean;
}

/** What a layer-4 balancer stands before. */
export interface BalancedSite {
  readonly terminatorPorts: readonly number[];
  readonly routingKeyFile: string;
  readonly folder: string;
  readonly core: number;
}

export interface Server {
  readonly name: string;
  /** Its own, and that of the OpenSSL that it runs on. */
  readonly version: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Driver {
  readonly name: string;
  /** Rejects with what the server said when it does not come up. */
  start(site: Site, port: number): Promise<Server>;
}

export interface BalancerDriver {
  readonly name: string;
  start(site: BalancedSite, port: number): Promise<Server>;
}

export interface Pinned {
  readonly child: ChildProcess;
  /** Its last words. */
  said(): string;
}

const KEPT_OUTPUT = 2_000;
const STOP_PATIENCE_MS = 15_000;
const running = new Set<ChildProcess>();

// However this process ends, no server of a comparison survives it.
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM');
});

/** A command on one core, its output read, so that it never blocks, and kept for error messages. */
export function startPinned(core: number, command: readonly string[]): Pinned {
  const child = spawn('taskset', ['-c', String(core), ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let said = '';
  const listen = (chunk: Buffer): void => {
    said = (said + chunk.toString('utf8')).slice(-KEPT_OUTPUT);
  };
  child.stdout.on('data', listen);
  child.stderr.on('data', listen);
  child.once('error', (error) => (said += error.message));
  return { child, said: () => said.trim() };
}

/** The server once something accepts on its port; stopped again if nothing does. */
export async function whenListening(
  { child, said }: Pinned,
  port: number,
  describe: (pid: number) => { readonly name: string; readonly version: string },
): Promise<Server> {
  try {
    await untilListening(port, child);
  } catch (error) {
    await stopChild(child);
    throw new Error(`${(error as Error).message}: ${lastLines(said())}`, { cause: error });
  }
  const pid = child.pid ?? 0;
  return { ...describe(pid), port, pid, stop: () => stopChild(child) };
}

export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
  await gone;
  clearTimeout(impatience);
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** The OpenSSL that a process has mapped, by what that library says of itself. */
export function opensslOf(pid: number): string {
  for (const each of processTree(pid)) {
    try {
      const maps = readFileSync(`/proc/${each}/maps`, 'utf8');
      const path = /\s(\/\S*libcrypto\.so\S*)/.exec(maps)?.[1];
      if (path === undefined) continue;
      const found = /OpenSSL \d+\.\d+\.\d+/.exec(readFileSync(path, 'latin1'))?.[0];
      if (found !== undefined) return found;
    } catch {
      // Gone, or not ours to read.
    }
  }
  return 'OpenSSL ?';
}

/** What a program says of its version, wherever it says it. */
export function firstMatch(command: string, pattern: RegExp): string {
  try {
    const said = execFileSync('sh', ['-c', `${command} 2>&1`], { encoding: 'utf8' });
    return pattern.exec(said)?.[1] ?? '?';
  } catch (error) {
    return pattern.exec(String((error as { stdout?: string }).stdout))?.[1] ?? '?';
  }
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (child.pid === undefined) throw new Error('it cannot be started');
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('it ended at start');
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

function lastLines(text: string): string {
  return text.split('\n').slice(-3).join(' ') || 'it said nothing';
}
