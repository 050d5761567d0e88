/**
 * Events come by the thousand when something is wrong; the log needs the first and then a count.
 * One line per key and interval.
 */
export class LogLimiter {
  readonly #intervalMs: number;
  readonly #seen = new Map<string, { loggedAtMs: number; suppressed: number }>();

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** How many were swallowed since the last line, or null when this one is to be swallowed too. */
  admit(key: string, nowMs: number): number | null {
    const seen = this.#seen.get(key);
    if (seen !== undefined && nowMs - seen.loggedAtMs < this.#intervalMs) {
      seen.suppressed++;
      return null;
    }
    this.#seen.set(key, { loggedAtMs: nowMs, suppressed: 0 });
    return seen?.suppressed ?? 0;
  }
}
