import type { SessionTableStats } from '../native/index.ts';
import { type Lookup, miss, type SessionStore } from './store.ts';

/** The store of a node that is to resume nothing. */
export class NoStore implements SessionStore {
  #misses = 0;

  put(): boolean {
    return false;
  }

  get(): Lookup {
    this.#misses++;
    return miss('off');
  }

  delete(): boolean {
    return false;
  }

  stats(): SessionTableStats {
    return {
      slots: 0,
      used: 0,
      protected: 0,
      hits: 0,
      misses: this.#misses,
      expired: 0,
      mismatched: 0,
      inserted: 0,
      evicted: 0,
      repaired: 0,
      contended: 0,
      torn: 0,
      tooLarge: 0,
    };
  }
}
