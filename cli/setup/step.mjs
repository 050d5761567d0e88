/**
 * Run one tool and show that something happens: a spinner with elapsed seconds on a terminal, one
 * plain line elsewhere. All of it on standard error, since standard output belongs to the command
 * that needed the setup. The tool's own output is shown only when it fails.
 */
import { spawn } from 'node:child_process';
import { SetupError } from './setup-error.mjs';

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const shownLines = 40;
const keptLines = 400;

/**
 * @param {string} title what is being done, as in "building the native addon"
 * @param {string} command
 * @param {string[]} args
 * @param {object} options
 * @param {string} options.cwd
 * @param {NodeJS.ProcessEnv} options.env
 * @param {(line: string) => string | undefined} [options.onLine] a detail worth showing, if any
 * @param {(line: string) => boolean} [options.isNoise] lines not worth showing after a failure
 * @param {(output: string) => string} options.whatToDo the advice after a failure
 */
export async function runStep(title, command, args, options) {
  const startedAtMs = Date.now();
  const elapsed = () => `${((Date.now() - startedAtMs) / 1000).toFixed(1)} s`;
  const display = process.stderr.isTTY ? spinner(title, startedAtMs) : plainLine(title);

  // A group of its own: on a signal the whole tree (npm, make, compilers) can be ended, not only
  // its first process.
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const stopForwarding = endWithUs(child);

  const lines = [];
  const takeLine = (line) => {
    lines.push(line);
    if (lines.length > keptLines) lines.shift();
    const detail = options.onLine?.(line);
    if (detail !== undefined) display.detail(detail);
  };
  for (const stream of [child.stdout, child.stderr]) splitLines(stream, takeLine);

  const outcome = await new Promise((resolve) => {
    child.once('error', (error) =>
      resolve(error.code === 'ENOENT' ? 'is not installed' : error.message),
    );
    child.once('close', (code, signal) => {
      if (code === 0) resolve(null);
      else resolve(signal === null ? `exited with status ${code}` : `was ended by ${signal}`);
    });
  });
  stopForwarding();
  if (outcome === null) {
    display.done(elapsed());
    return;
  }
  display.failed(elapsed());
  const isNoise = options.isNoise ?? (() => false);
  const output = lines
    .filter((line) => !isNoise(line))
    .slice(-shownLines)
    .join('\n');
  throw new SetupError(
    'SETUP_STEP',
    `${title}: ${command} ${outcome}.\n${output}${output === '' ? '' : '\n'}${options.whatToDo(lines.join('\n'))}`,
  );
}

function spinner(title, startedAtMs) {
  let frame = 0;
  let detail = '';
  const draw = () => {
    const seconds = Math.floor((Date.now() - startedAtMs) / 1000);
    const text = `${title}${detail === '' ? '' : `, ${detail}`} (${seconds} s)`;
    const width = (process.stderr.columns ?? 80) - 3;
    process.stderr.write(`\r\x1b[K${frames[frame++ % frames.length]} ${text.slice(0, width)}`);
  };
  draw();
  const timer = setInterval(draw, 100);
  const end = (mark) => (duration) => {
    clearInterval(timer);
    process.stderr.write(`\r\x1b[K${mark} ${title} (${duration})\n`);
  };
  return {
    detail: (text) => {
      detail = text;
    },
    done: end('✔'),
    failed: end('✖'),
  };
}

function plainLine(title) {
  process.stderr.write(`setup: ${title} ...`);
  return {
    detail: () => {},
    done: (duration) => process.stderr.write(` done (${duration})\n`),
    failed: (duration) => process.stderr.write(` failed (${duration})\n`),
  };
}

/** Nothing may go on building after we have been told to stop. */
function endWithUs(child) {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  const handlers = signals.map((signal) => {
    const handler = () => {
      try {
        process.kill(-child.pid, 'SIGTERM');
      } catch {
        // It has just ended by itself.
      }
      process.stderr.write('\n');
      process.exit(128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal]);
    };
    process.on(signal, handler);
    return () => process.off(signal, handler);
  });
  return () => {
    for (const remove of handlers) remove();
  };
}

function splitLines(stream, takeLine) {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) takeLine(part);
  });
  stream.on('end', () => {
    if (rest !== '') takeLine(rest);
  });
}
