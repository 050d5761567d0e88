/**
 * A son: waits for the father's start message on the IPC channel, runs one role on the inherited
 * socket, and leaves when told to. Signals first: the imports below the handlers take their time.
 *
 * | state    | leaves it                                                                     |
 * |----------|-------------------------------------------------------------------------------|
 * | waiting  | start → serving; disconnect, drain or close → exit                            |
 * | serving  | drain → draining; close → exit; disconnect → draining; SIGTERM asks the father |
 * | draining | last connection closed, or drainTimeoutMs → exit                              |
 */
import type { FatherMessage, SonMessage, StartMessage } from './messages.ts';
import type { RunningSon, StartSon } from './son-contract.ts';

/** The father answers SIGTERM with a successor and then "drain"; if it does not, we go anyway. */
const SUCCESSOR_PATIENCE_MS = 5_000;

let running: RunningSon | null = null;
let drainTimeoutMs = 0;
let draining = false;

// The terminal sends SIGINT and SIGHUP to the whole group; the father coordinates.
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
process.on('SIGTERM', () => {
  if (running === null) process.exit(0);
  say({ type: 'leaving' });
  setTimeout(() => drain(false), SUCCESSOR_PATIENCE_MS);
});
process.on('disconnect', () => {
  // The father is dead and nobody shares the socket any more: take what waits in it, then go.
  if (running === null) process.exit(0);
  drain(true);
});
process.on('message', (message: FatherMessage) => {
  switch (message.type) {
    case 'start':
      void start(message);
      return;
    case 'drain':
      if (running === null) process.exit(0);
      return drain(message.final);
    case 'close':
      return leave();
    case 'stats':
      return say({
        type: 'stats',
        question: message.question,
        counters: running?.counters() ?? {},
      });
  }
});

async function start(message: StartMessage): Promise<void> {
  drainTimeoutMs = message.drainTimeoutMs;
  try {
    const { pino } = await import('pino');
    const { startSon } = (await import(message.module)) as { startSon: StartSon };
    const logger = pino(
      {
        level: message.logLevel,
        base: { pid: process.pid, role: message.role, slot: message.slot },
      },
      pino.destination({ fd: 1, sync: true }),
    );
    running = startSon(message.payload as never, {
      listenFd: message.listenFd,
      sessionTableFd: message.sessionTableFd,
      slot: message.slot,
      logger,
    });
  } catch (error) {
    const { code, message: text, name } = error as Error & { code?: string };
    // Only an operator's error keeps its code: it is the one whose sentence stands for itself.
    const failed: SonMessage = {
      type: 'failed',
      code: name === 'OperatorError' ? (code ?? '') : '',
      message: text,
    };
    process.send?.(failed, () => process.exit(1));
    return;
  }
  void running.drained.then(leave);
  say({ type: 'ready' });
}

function drain(final: boolean): void {
  if (draining && !final) return;
  if (!draining) setTimeout(leave, drainTimeoutMs);
  draining = true;
  running?.drain(final);
}

/** Last words, then the end; whatever is still connected is closed. */
function leave(): void {
  if (running === null || !process.connected) {
    running?.close();
    process.exit(0);
  }
  const counters = running.counters();
  running.close();
  const words: SonMessage = { type: 'drained', counters };
  process.send?.(words, () => process.exit(0));
}

function say(message: SonMessage): void {
  if (process.connected) process.send?.(message, () => {});
}
