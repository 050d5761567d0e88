import { createHmac } from 'node:crypto';

import { OperatorError } from './operator-error.ts';
import type { RoutingKeys } from './routing-key.ts';

/**
 * A node's id under one epoch: the first 32 bits, big-endian, of HMAC-SHA256(node-id key, canonical
 * name in UTF-8). Keyed, so that an id that leaks does not tell the name; computed on both sides, so
 * that nothing has to be assigned.
 *
 * @param nodeIdKey 32 bytes, `deriveRoutingKeys(...).nodeIdKey`.
 * @param name as `canonicalName` writes it.
 */
export function nodeId(nodeIdKey: Uint8Array, name: string): number {
  return createHmac('sha256', nodeIdKey).update(name, 'utf8').digest().readUInt32BE(0);
}

/** Which terminator an opened ID names: `find` answers its index in the list given, or -1. */
export interface NodeIndex {
  find(epoch: number, id: number): number;
}

/**
 * Index the terminators' ids under every accepted epoch.
 *
 * @param names canonical names; a terminator's index is its place in this list.
 * @throws OperatorError `node-id-collision` naming both terminators, `node-name-twice`.
 */
export function indexNodes(names: readonly string[], keys: readonly RoutingKeys[]): NodeIndex {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new OperatorError(
      'node-name-twice',
      `Terminator ${twice} is listed twice. Remove one; to send it more, give it a weight.`,
    );
  }
  const indexOf = new Map<number, number>();
  for (const { epoch, nodeIdKey } of keys) {
    for (const [index, name] of names.entries()) {
      const at = slot(epoch, nodeId(nodeIdKey, name));
      const other = indexOf.get(at);
      if (other !== undefined) {
        throw new OperatorError(
          'node-id-collision',
          `Terminators ${names[other]} and ${name} have the same node id in epoch ${epoch} ` +
            '(one chance in four billion for a pair). Advertise one of them by another name, ' +
            'or replace that epoch of the routing secret.',
        );
      }
      indexOf.set(at, index);
    }
  }
  return { find: (epoch, id) => indexOf.get(slot(epoch, id)) ?? -1 };
}

/** (epoch, node id) as one number: 4 + 32 bits. */
function slot(epoch: number, id: number): number {
  return epoch * 0x1_0000_0000 + id;
}
