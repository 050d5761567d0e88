/**
 * What the outside world can say to a father: signals, and the end of the IPC channel when another
 * process (`tlsfarm up`) has started it.
 *
 * | said            | done                                                                  |
 * |-----------------|-----------------------------------------------------------------------|
 * | SIGTERM, SIGINT | final stop; said again: at once                                       |
 * | SIGHUP          | configuration and certificates read again, slots handed over          |
 * | SIGUSR1         | one `stats` line                                                      |
 * | disconnect      | final stop. SIGINT is ignored then: the terminal sends it to the whole |
 * |                 | group, and the process above decides when we stop                     |
 */
import type { Father } from './father.ts';

/** Start, obey, and resolve when it has stopped. Until it serves, a signal simply ends the process. */
export async function runFather(father: Father): Promise<void> {
  const supervised = process.send !== undefined;
  if (supervised) process.on('SIGINT', () => {});
  await father.start(() => {
    process.on('SIGTERM', () => father.stop('SIGTERM'));
    if (!supervised) process.on('SIGINT', () => father.stop('SIGINT'));
    process.on('SIGHUP', () => void father.reload());
    // Replaces Node's own use of the signal, which opens the debugger.
    process.on('SIGUSR1', () => void father.logStats());
  });
  if (supervised) {
    const orphaned = (): void => father.stop('the process that started it is gone');
    process.on('disconnect', orphaned);
    if (process.connected) process.send?.({ type: 'listening', address: father.address });
    else orphaned();
  }
  await father.stopped;
}
