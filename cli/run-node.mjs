/**
 * Run a program under the pinned Node as if it were this process: same terminal, same signals, same
 * exit status.
 *
 * A terminal sends Ctrl-C to the whole foreground process group, so the child has it already and a
 * second one would mean "at once" to it. SIGINT is therefore forwarded only when we are not in the
 * foreground of a terminal; other signals come to us alone and are always forwarded.
 *
 * What cannot be forwarded is SIGKILL: it ends this process and leaves the child running. A service
 * manager should kill the whole control group (systemd's default) or run cli/main.ts directly.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const forwarded = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'];
const fromTerminal = ['SIGINT', 'SIGQUIT'];

/**
 * @param {string} node
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<{ code: number | null, signal: string | null }>}
 */
export async function runNode(node, args, env = process.env) {
  // Before the child exists: a signal in between must not end us without it.
  const early = [];
  let child = null;
  const send = (signal) => {
    if (child === null) early.push(signal);
    else child.kill(signal);
  };
  const handlers = [
    ...forwarded.map((signal) => [signal, () => send(signal)]),
    ...fromTerminal.map((signal) => [
      signal,
      () => {
        if (!inForeground()) send(signal);
      },
    ]),
  ];
  for (const [signal, handler] of handlers) process.on(signal, handler);
  try {
    child = spawn(node, args, { stdio: 'inherit', env });
    for (const signal of early) child.kill(signal);
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
  } finally {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  }
}

/** End the way the child ended: its parent's shell should not be able to tell the difference. */
export function exitLike({ code, signal }) {
  if (signal === null) process.exit(code ?? 1);
  process.kill(process.pid, signal);
  // The signal is delivered asynchronously; should it be blocked, the shell's convention remains.
  setTimeout(() => process.exit(1), 1000);
}

/** Fields 5 and 8 of proc_pid_stat(5): our process group, and the terminal's foreground group. */
function inForeground() {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[2] === fields[5];
  } catch {
    return false;
  }
}
