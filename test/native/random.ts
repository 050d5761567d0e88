/**
 * Misfortune from a printed seed: `TLSFARM_SEED=… npm test` repeats a run. Mulberry32: good enough to
 * be unlucky with.
 */
export function random(given: string | undefined = process.env['TLSFARM_SEED']): {
  readonly seed: number;
  /** In [0, 1). */
  next(): number;
} {
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
  let state = seed >>> 0;
  return {
    seed,
    next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    },
  };
}
