/**
 * How long the father waits before he replaces a dead son. The first death is answered at once:
 * clients are waiting in the socket's queue. A son that dies again and again must not eat the machine.
 */

/** 100 ms, doubling. */
export const RESPAWN_FIRST_DELAY_MS = 100;
export const RESPAWN_MAX_DELAY_MS = 5_000;
/** A son that lived this long was healthy: the next death counts as a first one. */
export const RESPAWN_RESET_MS = 10_000;

export interface Respawn {
  readonly delayMs: number;
  /** Deaths in a row, this one included; pass it in again at the next death. */
  readonly deaths: number;
}

/** `deaths` is what the last call returned, 0 at first; `livedMs` how long the son that died had lived. */
export function respawn(deaths: number, livedMs: number): Respawn {
  if (deaths === 0 || livedMs >= RESPAWN_RESET_MS) return { delayMs: 0, deaths: 1 };
  const delayMs = Math.min(RESPAWN_FIRST_DELAY_MS * 2 ** (deaths - 1), RESPAWN_MAX_DELAY_MS);
  return { delayMs, deaths: deaths + 1 };
}
