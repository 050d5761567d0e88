import { timingSafeEqual } from 'node:crypto';

import { LRUCache } from 'lru-cache';

import type { SessionRecord, SessionTableStats } from '../native/index.ts';
import {
  type ClockS,
  type Lookup,
  MAX_SESSION_DER_BYTES,
  miss,
  SESSION_ID_LENGTH,
  type SessionStore,
} from './store.ts';

interface Entry {
  readonly fingerprint: Uint8Array;
  readonly record: SessionRecord;
  superseded: boolean;
}

/**
 * One process's own store, for tools and tests: a plain LRU, without the shared table's probation. A
 * terminator never uses it beside the table: two caches would disagree about deletion and use counts.
 */
export class MemoryStore implements SessionStore {
  readonly #clockS: ClockS;
  readonly #sessions: LRUCache<string, Entry>;
  /** IDs of sessions that have been renewed, longest first. */
  readonly #superseded = new Set<string>();
  readonly #counts = {
    hits: 0,
    misses: 0,
    expired: 0,
    mismatched: 0,
    inserted: 0,
    evicted: 0,
    repaired: 0,
    contended: 0,
    torn: 0,
    tooLarge: 0,
  };

  constructor(slots: number, clockS: ClockS) {
    this.#clockS = clockS;
    this.#sessions = new LRUCache({
      max: slots,
      dispose: ({ record }, key, reason) => {
        record.der.fill(0);
        this.#superseded.delete(key);
        if (reason === 'evict') this.#counts.evicted++;
      },
    });
  }

  put(
    id: Uint8Array,
    fingerprint: Uint8Array,
    record: SessionRecord,
    replaces: Uint8Array | null,
  ): boolean {
    const key = keyOf(id);
    const old = this.#sessions.peek(key);
    this.#sessions.delete(key);
    const tooLarge = record.der.length > MAX_SESSION_DER_BYTES;
    if (tooLarge) this.#counts.tooLarge++;
    if (tooLarge || record.der.length === 0 || record.expiresAtS <= this.#clockS()) return false;

    if (replaces !== null) this.#supersede(keyOf(replaces), fingerprint);
    if (this.#sessions.size === this.#sessions.max) this.#makeRoom();
    const superseded = old?.superseded ?? false;
    this.#sessions.set(key, {
      fingerprint: fingerprint.slice(),
      record: { ...record, der: record.der.slice() },
      superseded,
    });
    if (superseded) this.#superseded.add(key);
    this.#counts.inserted++;
    return true;
  }

  get(id: Uint8Array, fingerprint: Uint8Array): Lookup {
    const key = keyOf(id);
    const entry = id.length === SESSION_ID_LENGTH ? this.#sessions.peek(key) : undefined;
    if (entry === undefined) {
      this.#counts.misses++;
      return miss('not-found');
    }
    if (entry.record.expiresAtS <= this.#clockS()) {
      this.#sessions.delete(key);
      this.#counts.expired++;
      return miss('expired');
    }
    if (!samePolicy(entry.fingerprint, fingerprint)) {
      this.#counts.mismatched++;
      return miss('policy-mismatch');
    }
    this.#sessions.get(key); // the use that an LRU remembers
    this.#counts.hits++;
    return { found: true, record: { ...entry.record, der: entry.record.der.slice() } };
  }

  delete(id: Uint8Array): boolean {
    return this.#sessions.delete(keyOf(id));
  }

  stats(): SessionTableStats {
    return {
      slots: this.#sessions.max,
      used: this.#sessions.size,
      protected: 0,
      ...this.#counts,
    };
  }

  #supersede(key: string, fingerprint: Uint8Array): void {
    const parent = this.#sessions.peek(key);
    if (parent === undefined || !samePolicy(parent.fingerprint, fingerprint)) return;
    parent.superseded = true;
    this.#superseded.add(key);
  }

  /** A renewed session goes first; without one the LRU makes room itself. */
  #makeRoom(): void {
    const [first] = this.#superseded;
    if (first !== undefined) this.#sessions.delete(first);
  }
}

function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1');
}

function samePolicy(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
