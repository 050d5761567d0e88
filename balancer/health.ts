/**
 * Which terminators deserve the next client. Nothing is probed from here: clients' own connections
 * are the probes, since a client does not notice a failed one (its hello is kept until the server's
 * first byte). Pure: the clock comes in as milliseconds of any monotonic origin.
 *
 *     up ──failed──▶ punished ──time──▶ due ──offered first──▶ trying ──failed──▶ punished (longer)
 *      ▲                │                │                       │  └──no outcome──▶ due
 *      └────────────────┴───a byte from the server───────────────┘
 */
export const HEALTH_STATES = {
  up: 'answered last time, or was never asked',
  punished: 'failed; goes last until its time is over',
  due: 'its time is over: the next client that would go there first is the trial',
  trying: 'the trial is out; everybody else avoids it',
} as const;

export type HealthState = keyof typeof HEALTH_STATES;

export interface HealthOptions {
  /** First punishment; each failed trial doubles it. */
  readonly firstPenaltyMs: number;
  readonly maxPenaltyMs: number;
  /** A trial without an outcome (its client left first) is forgotten after this. */
  readonly trialExpiryMs: number;
}

export const DEFAULT_HEALTH: HealthOptions = {
  firstPenaltyMs: 1_000,
  maxPenaltyMs: 30_000,
  trialExpiryMs: 5_000,
};

export interface Health {
  state(terminator: number, nowMs: number): HealthState;
  /** True for `up` and `due`: may be first. */
  mayLead(terminator: number, nowMs: number): boolean;
  /** It was offered first: if it was due, this connection is the trial. */
  led(terminator: number, nowMs: number): void;
  /** A byte came from the server. Only this restores it. True: it was not up before. */
  answered(terminator: number): boolean;
  /** It refused, reset, or stayed silent. True: this began or lengthened its punishment. */
  failed(terminator: number, nowMs: number): boolean;
  /** We could not try (no descriptors, no local port): not its fault, and no outcome either. */
  exhausted(terminator: number): void;
}

interface Record {
  /** Failed trials in a row, the first failure included; 0 = up. */
  failures: number;
  punishedUntilMs: number;
  /** -Infinity = no trial is out. */
  trialSinceMs: number;
}

export function createHealth(terminators: number, options: HealthOptions = DEFAULT_HEALTH): Health {
  const records = Array.from(
    { length: terminators },
    (): Record => ({ failures: 0, punishedUntilMs: 0, trialSinceMs: Number.NEGATIVE_INFINITY }),
  );
  const state = (terminator: number, nowMs: number): HealthState => {
    const record = records[terminator];
    if (record === undefined || record.failures === 0) return 'up';
    if (nowMs < record.punishedUntilMs) return 'punished';
    return nowMs - record.trialSinceMs < options.trialExpiryMs ? 'trying' : 'due';
  };
  return {
    state,
    mayLead(terminator, nowMs) {
      const now = state(terminator, nowMs);
      return now === 'up' || now === 'due';
    },
    led(terminator, nowMs) {
      const record = records[terminator];
      if (record !== undefined && state(terminator, nowMs) === 'due') record.trialSinceMs = nowMs;
    },
    answered(terminator) {
      const record = records[terminator];
      if (record === undefined || record.failures === 0) return false;
      record.failures = 0;
      record.trialSinceMs = Number.NEGATIVE_INFINITY;
      return true;
    },
    failed(terminator, nowMs) {
      const record = records[terminator];
      // While it is punished, failures are those of connections sent before: a hundred clients that
      // one crash cut off are one failure, not a hundred doublings.
      if (record === undefined || state(terminator, nowMs) === 'punished') return false;
      const penalty = options.firstPenaltyMs * 2 ** record.failures;
      record.failures++;
      record.punishedUntilMs = nowMs + Math.min(penalty, options.maxPenaltyMs);
      record.trialSinceMs = Number.NEGATIVE_INFINITY;
      return true;
    },
    exhausted(terminator) {
      const record = records[terminator];
      if (record !== undefined) record.trialSinceMs = Number.NEGATIVE_INFINITY;
    },
  };
}
