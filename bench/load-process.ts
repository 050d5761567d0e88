/**
 * The load generator in a process of its own, so that it can be pinned to a core: this file is both
 * the process (started with an IPC channel) and, for the runner, the handle on it.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { cpuTimeNs } from './cpu-time.ts';
import type { LoadOptions, LoadProgress, LoadResult } from './load.ts';
import { runLoad } from './run-load.ts';
import type { Slice, SliceRequest } from './slice.ts';

type Request =
  | { readonly type: 'slice'; readonly request: SliceRequest }
  | { readonly type: 'hold'; readonly options: LoadOptions };
type Answer =
  | { readonly type: 'slice'; readonly slice: Slice }
  | { readonly type: 'failed'; readonly message: string };

export class LoadProcess {
  readonly #child: ChildProcess;

  constructor(core: number) {
    const command = ['-c', String(core), process.execPath, fileURLToPath(import.meta.url)];
    this.#child = spawn('taskset', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  }

  async slice(request: SliceRequest): Promise<Slice> {
    const answer = await this.#ask({ type: 'slice', request });
    return answer.slice;
  }

  /** Starts them and keeps them until `stop`; who has arrived, the origin knows. */
  hold(options: LoadOptions): void {
    this.#child.send({ type: 'hold', options } satisfies Request);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  #ask(request: Request): Promise<{ readonly slice: Slice }> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the load process ended'));
      this.#child.once('exit', onExit);
      this.#child.once('message', (answer: Answer) => {
        this.#child.off('exit', onExit);
        if (answer.type === 'failed') reject(new Error(answer.message));
        else resolve(answer);
      });
      this.#child.send(request);
    });
  }
}

interface Mark {
  readonly atMs: number;
  readonly cpuNs: number;
  readonly completed: number;
}

/** Longer than two progress reports: the end of the window is then always seen. */
const TAIL_MS = 250;

async function slice({ options, pids, warmUpMs, sliceMs }: SliceRequest): Promise<Slice> {
  const marks: Mark[] = [];
  const wanted = [warmUpMs, warmUpMs + sliceMs];
  const onProgress = ({ elapsedMs, completed }: LoadProgress): void => {
    if (elapsedMs < (wanted[marks.length] ?? Infinity)) return;
    marks.push({ atMs: elapsedMs, cpuNs: cpuTimeNs(pids), completed });
  };
  const before = cpuTimeNs(pids);
  const durationMs = warmUpMs + sliceMs + TAIL_MS;
  const result = await runLoad({ ...options, durationMs }, { onProgress });
  const whole = cpuTimeNs(pids) - before;
  const [from, to] = marks;
  // Bytes are known for the whole run only; so is a run so short that it was hardly looked at.
  if (options.requestsPerConnection > 1 || from === undefined || to === undefined) {
    return ofWhole(result, whole);
  }
  return {
    ...ofWhole(result, to.cpuNs - from.cpuNs),
    connections: to.completed - from.completed,
    seconds: (to.atMs - from.atMs) / 1_000,
  };
}

function ofWhole(result: LoadResult, cpuNs: number): Slice {
  return {
    connections: result.completed,
    megabytes: result.bytesIn / 1_000_000,
    seconds: result.elapsedMs / 1_000,
    cpuUs: cpuNs / 1_000,
    resumed: result.handshakesResumed,
    offered: result.handshakesResumed + result.offeredButFull,
    errors: result.errors,
    generatorBusy: result.generatorBusy,
  };
}

if (import.meta.main) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (request: Request) => {
    if (request.type === 'hold') {
      void runLoad(request.options);
      return;
    }
    void slice(request.request)
      .then((done): Answer => ({ type: 'slice', slice: done }))
      .catch((error: unknown): Answer => ({ type: 'failed', message: String(error) }))
      .then((said) => process.send?.(said));
  });
}
