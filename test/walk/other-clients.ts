/** TLS clients that are not node's: openssl s_client and curl, as people run them. */
import { spawn } from 'node:child_process';

const PATIENCE_MS = 15_000;

export interface Said {
  readonly status: number | null;
  /** Both streams, as they came. */
  readonly text: string;
}

/**
 * `openssl s_client` with these arguments. Its stdin gets `input` and stays open, so that it is the
 * server who ends; `answers` are further lines, each sent when its pattern has been seen.
 */
export function sClient(
  address: string,
  args: readonly string[],
  input: string,
  answers: readonly { readonly seen: RegExp; readonly send: string }[] = [],
): Promise<Said> {
  return converse('openssl', ['s_client', '-connect', address, ...args], input, answers);
}

export function curl(args: readonly string[]): Promise<Said> {
  return converse('curl', ['--silent', '--show-error', '--max-time', '10', ...args], '', []);
}

function converse(
  program: string,
  args: readonly string[],
  input: string,
  answers: readonly { readonly seen: RegExp; readonly send: string }[],
): Promise<Said> {
  // A sanitizer that is preloaded for the addon is not meant for the clients.
  const { LD_PRELOAD: _, ...env } = process.env;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
  const patience = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  let text = '';
  const due = [...answers];
  const read = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    if (due[0]?.seen.test(text) === true) child.stdin.write(due.shift()?.send ?? '');
  };
  child.stdout.on('data', read);
  child.stderr.on('data', read);
  // It may end before it has read everything.
  child.stdin.on('error', () => {});
  child.stdin.write(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(patience);
      resolve({ status, text });
    });
  });
}
