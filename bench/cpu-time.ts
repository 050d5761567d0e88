/** CPU time from the scheduler's own books: /proc/PID/task/TID/schedstat, nanoseconds on a core. */
import { readFileSync, readdirSync } from 'node:fs';

/** Nanoseconds that these processes (all their threads) have run; processes that are gone count 0. */
export function cpuTimeNs(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    for (const task of tasksOf(pid)) {
      try {
        const [ran] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
        total += Number(ran);
      } catch {
        // The thread ended between the two reads.
      }
    }
  }
  return total;
}

/** A process and all its descendants. */
export function processTree(root: number): number[] {
  const found = [root];
  for (const pid of found) {
    for (const task of tasksOf(pid)) {
      try {
        const children = readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim();
        if (children !== '') found.push(...children.split(' ').map(Number));
      } catch {
        // As above.
      }
    }
  }
  return found;
}

function tasksOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? Number.NaN)) / 2;
}
