import type { NodeIndex } from '../config/node-id.ts';
import { ROUTABLE_ID_LENGTH, type RoutableIdOpener } from '../config/routable-id.ts';
import type { ClientHello } from './client-hello.ts';

/** Who knows the session that a hello offers. */
export interface Affinity {
  /** Where the ID was found. */
  readonly by: 'psk' | 'session-id';
  /** The verified ID, 32 bytes: a view of the hello. */
  readonly id: Uint8Array;
  readonly epoch: number;
  /** 0 .. 2^32 - 1. */
  readonly nodeId: number;
  /** Index in the list of terminators; -1 when the ID names none of them. */
  readonly terminator: number;
}

/**
 * The first routable ID of a hello, in the order in which a server would try them (RFC 8446 §4.2.11
 * before RFC 5246 §7.4.1.2): a TLS 1.3 PSK identity, the first 8 of them, then the legacy session ID,
 * which clients that offer 1.3 send too when they have a real 1.2 session. What does not verify is
 * noise, another farm's, or forged: null, not an error.
 */
export function findAffinity(
  hello: ClientHello,
  opener: RoutableIdOpener,
  nodes: NodeIndex,
): Affinity | null {
  if (hello.offersTls13) {
    for (const identity of hello.pskIdentities) {
      if (identity.length !== ROUTABLE_ID_LENGTH) continue;
      const affinity = resolve('psk', identity, opener, nodes);
      if (affinity !== null) return affinity;
    }
  }
  return resolve('session-id', hello.legacySessionId, opener, nodes);
}

function resolve(
  by: Affinity['by'],
  id: Uint8Array,
  opener: RoutableIdOpener,
  nodes: NodeIndex,
): Affinity | null {
  const opened = opener.open(id);
  if (opened === null) return null;
  const { epoch, nodeId } = opened;
  return { by, id, epoch, nodeId, terminator: nodes.find(epoch, nodeId) };
}
