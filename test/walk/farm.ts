/**
 * Real processes for the walks: each listens on a port of its own choice, its log is read, and it
 * ends with its test, whatever happens. Every process leads a group of its own, so that its sons end
 * with it; and its father stops by itself when this process is gone (it has an IPC channel to us).
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';

const PROGRAM: string = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const PATIENCE_MS = 20_000;

/** A line of pino's. */
export interface LogLine {
  readonly msg: string;
  readonly level: number;
  readonly [field: string]: unknown;
}

export interface Stats {
  readonly counters: Readonly<Record<string, number>>;
  readonly sessions: Readonly<Record<string, number>> | null;
  readonly sons: number;
  readonly sonPids: readonly number[];
}

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface FarmMember {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
  /** `host:port`, for flags of others. */
  readonly address: string;
  /** Everything logged so far, all sons included. */
  readonly log: readonly LogLine[];
  /** What was not JSON, and stderr. */
  readonly text: () => string;
  readonly exited: Promise<Ended>;
  /** The sons that serve now, in slot order, as the father last logged them; ask `stats()` for now. */
  sonPids(): Promise<readonly number[]>;
  /** The next line with this message (from now on), or one already there with `since: 0`. */
  waitFor(msg: string, options?: { since?: number; timeoutMs?: number }): Promise<LogLine>;
  /** One number more than the last line's index: for `since`. */
  mark(): number;
  stats(): Promise<Stats>;
  /** SIGHUP, and wait until it is through; rejects if it was refused. */
  reload(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM and wait. */
  stop(): Promise<Ended>;
  /** SIGKILL for the father and all its sons. */
  kill(): Promise<Ended>;
}

const groups = new Set<number>();

process.on('exit', () => {
  for (const pid of groups) killGroup(pid);
});
// node --test ends a file that takes too long by SIGTERM: 'exit' has to be reached all the same.
process.on('SIGTERM', () => process.exit(143));

/** `flags` beyond `--listen` (127.0.0.1:0 unless given), certificates and the routing key. */
export async function startTerminator(
  t: Cleanup,
  upstream: string,
  flags: readonly string[] = [],
): Promise<FarmMember> {
  const { certFlags, routingKey } = await testFiles();
  return start(t, [
    'terminator',
    '--upstream',
    upstream,
    ...unlessGiven(flags, '--log-level', 'debug'),
    ...unlessGiven(flags, '--listen', '127.0.0.1:0'),
    ...(flags.includes('--cert') ? [] : certFlags),
    ...unlessGiven(flags, '--routing-key-file', routingKey),
    ...flags,
  ]);
}

export async function startBalancer(
  t: Cleanup,
  terminators: readonly string[],
  flags: readonly string[] = [],
): Promise<FarmMember> {
  const { routingKey } = await testFiles();
  return start(t, [
    'balancer',
    ...unlessGiven(flags, '--log-level', 'debug'),
    ...terminators.flatMap((address) => ['--terminator', address]),
    ...unlessGiven(flags, '--listen', '127.0.0.1:0'),
    ...unlessGiven(flags, '--routing-key-file', routingKey),
    ...flags,
  ]);
}

/** `tlsfarm` with any arguments, to its end: for errors, and for commands that end by themselves. */
export async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...withoutTestFlags(), ...env },
    detached: true,
  });
  const pid = child.pid ?? 0;
  groups.add(pid);
  const impatience = setTimeout(() => killGroup(pid), PATIENCE_MS);
  const [stdout, stderr, status] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    new Promise<number | null>((resolve) => child.once('exit', resolve)),
  ]);
  clearTimeout(impatience);
  killGroup(pid);
  return { status, stdout, stderr };
}

/** Any command that serves; resolves when it says `listening`. */
export async function start(t: Cleanup, args: readonly string[]): Promise<FarmMember> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: withoutTestFlags(),
    detached: true,
  });
  const member = new Member(child);
  t.after(() => member.end());
  const line = await Promise.race([
    member.waitFor('listening', { since: 0 }),
    member.exited.then(({ status, signal }) => {
      throw new Error(`${args[0]} ended at start (${signal ?? status}): ${member.text()}`);
    }),
  ]);
  member.listensOn(String(line['address']));
  return member;
}

/** `tlsfarm up`; resolves when it says where it serves. Its fathers log into files, not here. */
export async function startUp(t: Cleanup, flags: readonly string[] = []): Promise<FarmMember> {
  const args = ['up', ...unlessGiven(flags, '--listen', '127.0.0.1:0'), ...flags];
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: withoutTestFlags(),
    detached: true,
  });
  const member = new Member(child);
  t.after(() => member.end());
  const found = await Promise.race([
    member.waitForText(/The farm serves https:\/\/(\S+?)\//),
    member.exited.then(({ status, signal }) => {
      throw new Error(`up ended at start (${signal ?? status}): ${member.text()}`);
    }),
  ]);
  member.listensOn(found[1] ?? '');
  return member;
}

class Member implements FarmMember {
  readonly pid: number;
  readonly log: LogLine[] = [];
  readonly exited: Promise<Ended>;
  host = '';
  port = 0;
  address = '';
  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();
  #text = '';

  constructor(child: ChildProcess) {
    if (child.pid === undefined || child.stdout === null || child.stderr === null) {
      throw new Error('not started');
    }
    this.#child = child;
    this.pid = child.pid;
    groups.add(this.pid);
    // 'exit', not 'close': a son that has lost its father holds the pipes a little longer.
    this.exited = new Promise((resolve) => {
      child.once('exit', (status, signal) => resolve({ status, signal }));
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#read(line));
    child.stderr.on('data', (chunk: Buffer) => this.#addText(chunk.toString('utf8')));
  }

  readonly text = (): string => this.#text;

  listensOn(address: string): void {
    this.address = address;
    const colon = address.lastIndexOf(':');
    this.host = address.slice(0, colon).replace(/^\[|\]$/g, '');
    this.port = Number(address.slice(colon + 1));
  }

  async sonPids(): Promise<readonly number[]> {
    return (await this.stats()).sonPids;
  }

  mark(): number {
    return this.log.length;
  }

  waitFor(msg: string, options: { since?: number; timeoutMs?: number } = {}): Promise<LogLine> {
    const since = options.since ?? this.mark();
    return this.#until(`the log line '${msg}'`, options.timeoutMs, () =>
      this.log.slice(since).find((line) => line.msg === msg),
    );
  }

  waitForText(wanted: RegExp): Promise<RegExpExecArray> {
    return this.#until(`${wanted}`, undefined, () => wanted.exec(this.#text) ?? undefined);
  }

  async stats(): Promise<Stats> {
    const next = this.waitFor('stats');
    this.signal('SIGUSR1');
    return (await next) as unknown as Stats;
  }

  async reload(): Promise<void> {
    const since = this.mark();
    this.signal('SIGHUP');
    const line = await this.#until('the end of the reload', undefined, () =>
      this.log.slice(since).find(({ msg }) => /^reload(ed| refused| failed)$/.test(msg)),
    );
    if (line.msg !== 'reloaded') throw new Error(`${line.msg}: ${String(line['reason'])}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  stop(): Promise<Ended> {
    this.signal('SIGTERM');
    return this.exited;
  }

  kill(): Promise<Ended> {
    killGroup(this.pid);
    return this.exited;
  }

  /** With the test: whatever is left goes without ceremony. */
  async end(): Promise<void> {
    await this.kill();
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  #read(line: string): void {
    if (line.startsWith('{')) {
      try {
        this.log.push(JSON.parse(line) as LogLine);
        for (const watcher of this.#watchers) watcher();
        return;
      } catch {
        // Not ours: keep it as text.
      }
    }
    this.#addText(`${line}\n`);
  }

  #addText(text: string): void {
    this.#text += text;
    for (const watcher of this.#watchers) watcher();
  }

  #until<T>(what: string, timeoutMs: number | undefined, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const watcher = (): void => {
        const found = look();
        if (found === undefined) return;
        clearTimeout(impatience);
        this.#watchers.delete(watcher);
        resolve(found);
      };
      const impatience = setTimeout(() => {
        this.#watchers.delete(watcher);
        const last = this.log.slice(-5).map((line) => JSON.stringify(line));
        reject(new Error(`waited in vain for ${what}; last: ${last.join('\n')}\n${this.#text}`));
      }, timeoutMs ?? PATIENCE_MS);
      // A test that has failed elsewhere need not wait for this.
      impatience.unref();
      this.#watchers.add(watcher);
      watcher();
    });
  }
}

function killGroup(pid: number): void {
  groups.delete(pid);
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All gone.
  }
}

function unlessGiven(flags: readonly string[], flag: string, value: string): string[] {
  return flags.includes(flag) ? [] : [flag, value];
}

/** The runner's own settings are not for the programs under test. */
function withoutTestFlags(): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _context, TLSFARM_ROUTING_KEY_FILE: _key, ...env } = process.env;
  return env;
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}
