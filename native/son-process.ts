/**
 * One son as the father sees it: a child process on a slot's socket, with the questions it can be
 * asked. It starts nothing by itself and decides nothing; father.ts does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SON_START_TIMEOUT_MS } from '../config/defaults.ts';
import { OperatorError } from '../config/operator-error.ts';
import type { Counters, FatherMessage, SonMessage, StartMessage } from './messages.ts';

/** Beside this file, and a .js there when this one is. */
const SON_PROGRAM: string = fileURLToPath(
  new URL(import.meta.url.replace(/son-process\.([tj]s)$/, 'son.$1')),
);

const STATS_TIMEOUT_MS = 1_000;

export interface SonExit {
  /** For people: "exit status 1" or "signal SIGKILL". */
  readonly how: string;
  readonly clean: boolean;
  readonly livedMs: number;
}

export class SonProcess {
  readonly slot: number;
  /** Resolves when it serves; rejects with the reason when it never will. */
  readonly ready: Promise<void>;
  readonly exited: Promise<SonExit>;
  /** True from the moment it has been told to go. */
  leaving = false;
  /** Its last words, if it had time for them. */
  lastCounters: Counters | null = null;

  readonly #child: ChildProcess;
  readonly #questions = new Map<number, (counters: Counters | null) => void>();
  #nextQuestion = 1;

  constructor(start: StartMessage, fds: readonly number[], onLeaving: (son: SonProcess) => void) {
    this.slot = start.slot;
    const startedAt = performance.now();
    // SIGUSR1 asks the father for statistics; in a son it must not open Node's debugger.
    this.#child = spawn(process.execPath, ['--disable-sigusr1', SON_PROGRAM, start.role], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...fds],
      serialization: 'advanced',
    });

    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    // The father may be stopping and no longer interested: not an unhandled rejection then.
    promise.catch(() => {});
    const patience = setTimeout(() => {
      reject(new Error(`it did not start within ${SON_START_TIMEOUT_MS / 1000} s`));
      this.kill();
    }, SON_START_TIMEOUT_MS);

    this.#child.on('message', (message: SonMessage) => {
      switch (message.type) {
        case 'ready':
          clearTimeout(patience);
          return resolve();
        case 'failed':
          return reject(
            message.code === ''
              ? new Error(message.message)
              : new OperatorError(message.code, message.message),
          );
        case 'leaving':
          return onLeaving(this);
        case 'stats':
          return this.#answer(message.question, message.counters);
        case 'drained':
          this.lastCounters = message.counters;
          return;
      }
    });

    this.exited = new Promise((done) => {
      const gone = (how: string, clean: boolean): void => {
        clearTimeout(patience);
        reject(new Error(`it ended at start (${how})`));
        for (const question of this.#questions.keys()) this.#answer(question, null);
        done({ how, clean, livedMs: performance.now() - startedAt });
      };
      this.#child.once('error', (error) => {
        if (this.#child.pid === undefined) gone(error.message, false);
      });
      // 'exit' may come before the last message has been read; 'close' would wait for inherited streams.
      this.#child.once('exit', (status, signal) => {
        setImmediate(() =>
          gone(signal === null ? `exit status ${status}` : `signal ${signal}`, status === 0),
        );
      });
    });

    this.#send(start);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  drain(final: boolean): void {
    this.leaving = true;
    this.#send({ type: 'drain', final });
  }

  close(): void {
    this.leaving = true;
    this.#send({ type: 'close' });
  }

  kill(): void {
    this.leaving = true;
    this.#child.kill('SIGKILL');
  }

  /** Null when it is gone or does not answer in time (frozen, for example). */
  counters(): Promise<Counters | null> {
    return new Promise((resolve) => {
      const question = this.#nextQuestion++;
      this.#questions.set(question, resolve);
      setTimeout(() => this.#answer(question, null), STATS_TIMEOUT_MS).unref();
      this.#send({ type: 'stats', question });
    });
  }

  #answer(question: number, counters: Counters | null): void {
    const resolve = this.#questions.get(question);
    this.#questions.delete(question);
    resolve?.(counters);
  }

  #send(message: FatherMessage): void {
    if (!this.#child.connected) return;
    // A son that dies meanwhile is reported by 'exit'; the failed write adds nothing.
    this.#child.send(message, () => {});
  }
}
