import type { Health } from './health.ts';
import { hashBytes, hashSource, hashText, score } from './rendezvous.ts';

/** How clients without a session of ours are spread. */
export const ALGORITHMS = ['rendezvous', 'roundrobin', 'leastconn'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface PickerOptions {
  /** Canonical names; a terminator is its index in this list. */
  readonly names: readonly string[];
  /** One per name, above 0; all 1 unless told. */
  readonly weights?: readonly number[];
  readonly algorithm: Algorithm;
  readonly health: Health;
  /** Shared: live connections per terminator. */
  readonly live: Int32Array;
  /** Shared: where the candidates go, best first. Its length bounds how many there are. */
  readonly candidates: Uint16Array;
}

/** What became of a hello's affinity. */
export type AffinityOutcome = 'none' | 'honoured' | 'overloaded' | 'down';

export interface Picked {
  /** How many candidates were written. */
  count: number;
  affinity: AffinityOutcome;
}

export interface Picker {
  /**
   * Write the candidates, best first.
   *
   * @param affinity the terminator that knows the session, or -1.
   * @param id the verified ID, or null.
   * @param source the client's address as text.
   * @returns the same object every time: read it before the next call.
   */
  pick(affinity: number, id: Uint8Array | null, source: string, nowMs: number): Readonly<Picked>;
}

/** Below this many connections nobody is overloaded: small numbers are all noise. */
export const MIN_FAIR_SHARE = 8;
/** Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): c = 1.25. */
export const FAIR_SHARE_FACTOR = 1.25;

/**
 * The live connections at which a terminator takes no more clients by preference:
 * max(8, ⌈1.25 × the mean⌉).
 */
export function fairShare(total: number, terminators: number): number {
  if (terminators === 0) return MIN_FAIR_SHARE;
  return Math.max(MIN_FAIR_SHARE, Math.ceil((FAIR_SHARE_FACTOR * total) / terminators));
}

/** Ranks of candidates; within a rank the score decides. Lower goes first. */
const RANK_READY = 0;
const RANK_OVERLOADED = 1;
const RANK_PUNISHED = 2;

/**
 * The order: whoever knows the session, if it may lead and is not over its fair share; then those who
 * may lead and have room; then those over their share; then those being punished. Within each, the
 * affinity first, then by rendezvous on the ID (all balancers send a dead node's clients to the same
 * successors) or, without an ID, by the algorithm. Nothing is allocated.
 */
export function createPicker(options: PickerOptions): Picker {
  const { names, algorithm, health, live, candidates } = options;
  const nodes = names.length;
  const weights = Float64Array.from(names, (_, i) => options.weights?.[i] ?? 1);
  const seeds = Uint32Array.from(names, (name) => hashText(name));
  const limit = Math.min(nodes, candidates.length);
  const ranks = new Uint8Array(nodes);
  const scores = new Float64Array(nodes);
  const turns = createTurns(weights);
  const picked: Picked = { count: 0, affinity: 'none' };

  /** Ranks of all; the mean is over those who may lead: a dead node's zero would make it too small. */
  function rank(nowMs: number): void {
    let total = 0;
    let weight = 0;
    let leaders = 0;
    for (let i = 0; i < nodes; i++) {
      ranks[i] = health.mayLead(i, nowMs) ? RANK_READY : RANK_PUNISHED;
      if (ranks[i] !== RANK_READY) continue;
      total += live[i] ?? 0;
      weight += weights[i] as number;
      leaders++;
    }
    for (let i = 0; i < nodes; i++) {
      if (ranks[i] !== RANK_READY) continue;
      // A terminator of weight 2 may carry twice what one of weight 1 may.
      const share = fairShare((total * (weights[i] as number) * leaders) / weight, leaders);
      if ((live[i] ?? 0) >= share) ranks[i] = RANK_OVERLOADED;
    }
  }

  function rate(id: Uint8Array | null, source: string): void {
    // Clients on a unix socket have no address: one key for all would be one terminator for all.
    if (id !== null || (algorithm === 'rendezvous' && source !== '')) {
      const key = id === null ? hashSource(source) : hashBytes(id);
      for (let i = 0; i < nodes; i++) {
        scores[i] = score(key, seeds[i] as number, weights[i] as number);
      }
      return;
    }
    turns.rate(scores, ranks);
    if (algorithm !== 'leastconn') return;
    // Turns are in (0, 1]: they only decide between equals.
    for (let i = 0; i < nodes; i++) {
      const load = Math.floor((1024 * (live[i] ?? 0)) / (weights[i] as number));
      scores[i] = (scores[i] as number) - load;
    }
  }

  function before(a: number, b: number): boolean {
    const rankA = ranks[a] as number;
    const rankB = ranks[b] as number;
    return rankA !== rankB ? rankA < rankB : (scores[a] as number) > (scores[b] as number);
  }

  /** Insertion into a list that never grows beyond its limit; farms have tens of terminators. */
  function order(): number {
    let count = 0;
    for (let i = 0; i < nodes; i++) {
      let at = count;
      if (count < limit) count++;
      else if (limit > 0 && before(i, candidates[limit - 1] as number)) at = limit - 1;
      else continue;
      for (; at > 0 && before(i, candidates[at - 1] as number); at--) {
        candidates[at] = candidates[at - 1] as number;
      }
      candidates[at] = i;
    }
    return count;
  }

  return {
    pick(affinity, id, source, nowMs) {
      rank(nowMs);
      rate(id, source);
      picked.affinity = 'none';
      if (affinity >= 0) {
        scores[affinity] = Number.POSITIVE_INFINITY;
        const place = ranks[affinity];
        picked.affinity =
          place === RANK_READY ? 'honoured' : place === RANK_OVERLOADED ? 'overloaded' : 'down';
      }
      picked.count = order();
      if (picked.count > 0) health.led(candidates[0] as number, nowMs);
      return picked;
    },
  };
}

interface Turns {
  /** Scores in (0, 1], the highest for the terminator whose turn it is, and take that turn. */
  rate(scores: Float64Array, ranks: Uint8Array): void;
}

/**
 * Smooth weighted round robin (nginx): everybody earns its weight, the richest goes first and pays
 * what all earned. Only the best rank takes turns: the others would save up credit meanwhile.
 */
function createTurns(weights: Float64Array): Turns {
  const credit = new Float64Array(weights.length);
  return {
    rate(scores, ranks) {
      let best = -1;
      let bestRank = RANK_PUNISHED;
      for (let i = 0; i < ranks.length; i++) bestRank = Math.min(bestRank, ranks[i] as number);
      let earned = 0;
      let low = Number.POSITIVE_INFINITY;
      let high = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < ranks.length; i++) {
        if (ranks[i] === bestRank) {
          credit[i] = (credit[i] as number) + (weights[i] as number);
          earned += weights[i] as number;
          if (best < 0 || (credit[i] as number) > (credit[best] as number)) best = i;
        }
        low = Math.min(low, credit[i] as number);
        high = Math.max(high, credit[i] as number);
      }
      const span = high - low + 1;
      for (let i = 0; i < ranks.length; i++) {
        scores[i] = ((credit[i] as number) - low + 1) / (span + 1);
      }
      if (best >= 0) credit[best] = (credit[best] as number) - earned;
    },
  };
}
