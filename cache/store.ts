/**
 * The store contract: where a node keeps the sessions that it, or a peer, has negotiated. One suite,
 * `test/cache/store-contract.ts`, runs against every implementation.
 *
 * **What must hold**
 * - What is found is what was put last under that ID, byte for byte, or nothing. A session may go
 *   missing at any time, for want of room or because a process died; a wrong one is never returned.
 * - A session is found only under the policy fingerprint it was put with.
 * - A session exactly at its deadline is over.
 * - After `delete` returned true the session is not found, by any process that shares the store, and
 *   its bytes have been wiped.
 * - A session that another one `replaces` stays findable (a client may be using it on a parallel
 *   connection), but is the first to go when room is needed.
 *
 * **What a failure means.** Nothing here throws for what a client sent: a miss is a value with its
 * reason, and costs a full handshake. A put that returns false stored nothing; nobody retries it. An
 * ID that is not 32 bytes is a miss.
 *
 * **Who owns buffers.** The caller. A store copies what it is given before it returns and hands out
 * copies. Both are master secrets: never logged, wiped when done with.
 *
 * **No waiting.** Local stores answer at once, from memory. A store that has to ask somebody (Redis, a
 * peer) will get its own interface with the same words: `get` returns a promise of a `Lookup`, takes a
 * deadline, and never rejects: slow, absent and wrong are reasons of a miss too.
 */
import type { SessionRecord, SessionTableStats, TableMiss } from '../native/index.ts';

export interface SessionStore {
  /** `id` and `fingerprint` are 32 bytes; `replaces` is the ID that this session renews, or null. */
  put(
    id: Uint8Array,
    fingerprint: Uint8Array,
    record: SessionRecord,
    replaces: Uint8Array | null,
  ): boolean;
  /** Any bytes will do for `id`: it is what a client sent. */
  get(id: Uint8Array, fingerprint: Uint8Array): Lookup;
  /** True when it was there. */
  delete(id: Uint8Array): boolean;
  /** Counters only grow; `slots`, `used` and `protected` are gauges. */
  stats(): SessionTableStats;
}

export type Lookup =
  | { readonly found: true; readonly record: SessionRecord }
  | { readonly found: false; readonly reason: MissReason };

/**
 * - `not-found`: never put, deleted, or gone for want of room.
 * - `expired`: at or past its deadline.
 * - `policy-mismatch`: made under another policy.
 * - `contended`: its bucket stayed locked; waiting would have held up every connection.
 * - `torn`: its checksum did not match; it has been dropped.
 * - `off`: this store keeps nothing.
 */
export type MissReason = TableMiss | 'off';

/** Whole Unix seconds. */
export type ClockS = () => number;

export const SESSION_ID_LENGTH = 32;
/** Sessions with client certificates are large; beyond this a put is refused and counted. */
export const MAX_SESSION_DER_BYTES = 8_192;

/** The miss that says only that. */
export function miss(reason: MissReason): Lookup {
  return { found: false, reason };
}
