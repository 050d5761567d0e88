import {
  type NativeSessionTable,
  native,
  type SessionRecord,
  type SessionTableStats,
} from '../native/index.ts';
import { type ClockS, type Lookup, miss, SESSION_ID_LENGTH, type SessionStore } from './store.ts';

/**
 * The node's shared-memory table as this process maps it. C++ uses the same table on the handshake's
 * path; this is for what TypeScript puts there (sessions from peers), deletes and counts.
 */
export class SharedStore implements SessionStore {
  readonly #table: NativeSessionTable;
  readonly #clockS: ClockS;

  /** `fd` stays the caller's; the mapping lives as long as this object. */
  constructor(fd: number, clockS: ClockS) {
    this.#table = native.openSessionTable(fd);
    this.#clockS = clockS;
  }

  put(
    id: Uint8Array,
    fingerprint: Uint8Array,
    record: SessionRecord,
    replaces: Uint8Array | null,
  ): boolean {
    return this.#table.put(id, fingerprint, record, this.#clockS(), replaces);
  }

  get(id: Uint8Array, fingerprint: Uint8Array): Lookup {
    if (id.length !== SESSION_ID_LENGTH) return miss('not-found');
    const found = this.#table.lookup(id, fingerprint, this.#clockS());
    return typeof found === 'string' ? miss(found) : { found: true, record: found };
  }

  delete(id: Uint8Array): boolean {
    return id.length === SESSION_ID_LENGTH && this.#table.delete(id);
  }

  stats(): SessionTableStats {
    return this.#table.stats();
  }
}

/** A new table's file descriptor, to be mapped here and passed on to the sons. */
export function createSharedTable(slots: number): number {
  return native.createSessionTable(slots);
}
