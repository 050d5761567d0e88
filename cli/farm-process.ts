/**
 * One father as a child of `up`: started with an IPC channel, so that it tells where it listens or
 * why it cannot, and stops by itself should `up` be gone without a word.
 */
import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatAddress } from '../config/address.ts';
import { OperatorError } from '../config/operator-error.ts';
import type { SocketAddress } from '../native/index.ts';

const PROGRAM: string = fileURLToPath(
  new URL(import.meta.url.replace(/farm-process\.([tj]s)$/, 'main.$1')),
);
/** Longer than any drain of its own: then something is wrong with it. */
const STOP_PATIENCE_MS = 10_000;
const LAST_LOG_LINES = 5;

export interface FarmProcess {
  readonly name: string;
  /** Where it listens, in canonical text. */
  readonly address: string;
  /** How it ended, for people. */
  readonly exited: Promise<string>;
  stop(): Promise<void>;
  /** Said again while it stops: at once. */
  hurry(): void;
}

type Word =
  | { readonly type: 'listening'; readonly address: SocketAddress }
  | { readonly type: 'failed'; readonly code: string; readonly message: string };

export function startFarmProcess(
  name: string,
  args: readonly string[],
  logFile: string,
): Promise<FarmProcess> {
  // Not a pipe: nobody has to read it, and nothing breaks when `up` goes first.
  const log = openSync(logFile, 'a', 0o600);
  const child = fork(PROGRAM, args, { stdio: ['ignore', log, log, 'ipc'] });
  closeSync(log);
  const exited = new Promise<string>((resolve) => {
    child.once('exit', (status, signal) =>
      resolve(signal === null ? `exit status ${status}` : `signal ${signal}`),
    );
  });
  return new Promise((resolve, reject) => {
    child.once('message', (word: Word) => {
      if (word.type === 'failed') {
        // Its own last words are better than its exit status: wait so that it is really gone.
        void exited.then(() => reject(new OperatorError(word.code, `${name}: ${word.message}`)));
        return;
      }
      const stop = (): Promise<void> => stopChild(child, exited);
      const hurry = (): void => void child.kill('SIGTERM');
      resolve({ name, address: formatAddress(word.address), exited, stop, hurry });
    });
    void exited.then((how) =>
      setImmediate(() =>
        reject(
          new OperatorError(
            'farm-process-died',
            `The ${name} ended at start (${how}); its last words were: ${lastWords(logFile)}`,
          ),
        ),
      ),
    );
  });
}

async function stopChild(child: ChildProcess, exited: Promise<string>): Promise<void> {
  child.kill('SIGTERM');
  const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
  await exited;
  clearTimeout(impatience);
}

function lastWords(logFile: string): string {
  try {
    const lines = readFileSync(logFile, 'utf8').trim().split('\n');
    return lines.slice(-LAST_LOG_LINES).join(' ') || 'none';
  } catch {
    return 'none';
  }
}
