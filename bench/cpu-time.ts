/** CPU time from the scheduler's own books: /proc/PID/task/TID/schedstat, nanoseconds on a core. */
import { readFileSync, readdirSync } from 'node:fs';

/** sysconf(_SC_CLK_TCK) is 100 wherever Linux runs. */
const NS_PER_TICK = 10_000_000;

/** Nanoseconds that these processes (all their threads) have run; processes that are gone count 0. */
export function cpuTimeNs(pids: readonly number[]): number {
  // Threads that have ended are in the second figure only, which is coarse: most servers have none.
  return pids.reduce((sum, pid) => sum + Math.max(liveThreadsNs(pid), wholeProcessNs(pid)), 0);
}

function liveThreadsNs(pid: number): number {
  let total = 0;
  for (const task of tasksOf(pid)) {
    try {
      const [ran] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
      total += Number(ran);
    } catch {
      // The thread ended between the two reads.
    }
  }
  return total;
}

/** proc_pid_stat(5), fields 14 and 15, in ticks of 10 ms, rounded down: never more than what ran. */
function wholeProcessNs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * NS_PER_TICK;
  } catch {
    return 0;
  }
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
