/**
 * Writes the test vectors of routable IDs from fixed inputs:
 * `node test/vectors/make-routable-id.ts > test/vectors/routable-id.json`.
 * test/config/routable-id.test.ts checks that the file is what this prints.
 */
import { createHash } from 'node:crypto';

import { canonicalName } from '../../config/address.ts';
import { nodeId } from '../../config/node-id.ts';
import { sealRoutableId } from '../../config/routable-id.ts';
import { deriveRoutingKeys, HKDF_INFO, HKDF_SALT } from '../../config/routing-key.ts';

/** All bytes are lower-case hex; node ids are decimal. */
export interface RoutableIdVector {
  readonly comment: string;
  readonly epoch: number;
  readonly secret: string;
  readonly k1: string;
  readonly k2: string;
  readonly nodeIdKey: string;
  readonly name: string;
  readonly canonicalName: string;
  readonly nodeId: number;
  readonly random: string;
  readonly id: string;
}

/** IDs that must not open under the first vector's keys. */
export interface RoutableIdForgery {
  readonly comment: string;
  readonly id: string;
}

export interface RoutableIdVectors {
  readonly salt: string;
  readonly info: typeof HKDF_INFO;
  readonly vectors: readonly RoutableIdVector[];
  readonly forgeries: readonly RoutableIdForgery[];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const fixed = (label: string, length: number): Uint8Array =>
  new Uint8Array(createHash('sha256').update(label).digest().subarray(0, length));

function vector(
  comment: string,
  epoch: number,
  secret: Uint8Array,
  name: string,
  random: Uint8Array,
): RoutableIdVector {
  const keys = deriveRoutingKeys({ epoch, secret });
  const canonical = canonicalName(name);
  const id = nodeId(keys.nodeIdKey, canonical);
  return {
    comment,
    epoch,
    secret: hex(secret),
    k1: hex(keys.k1),
    k2: hex(keys.k2),
    nodeIdKey: hex(keys.nodeIdKey),
    name,
    canonicalName: canonical,
    nodeId: id,
    random: hex(random),
    id: hex(sealRoutableId(keys, id, random)),
  };
}

export function makeVectors(): RoutableIdVectors {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  const vectors = [
    vector('the plainest', 0, ascending, '10.0.0.1:8443', new Uint8Array(21)),
    vector('all ones', 0, ascending, '10.0.0.1:8443', new Uint8Array(21).fill(0xff)),
    vector('the last epoch', 15, ascending, '10.0.0.1:8443', new Uint8Array(21)),
    vector('IPv6', 1, fixed('secret 1', 32), '[2001:DB8:0:0::1]:443', fixed('random 1', 21)),
    vector('a name', 2, fixed('secret 2', 32), 'Node-7.Farm.Example:443', fixed('random 2', 21)),
    vector('a unix socket', 3, fixed('secret 3', 32), 'unix:/run/T1.sock', fixed('random 3', 21)),
    vector('only T random', 4, fixed('secret 4', 32), '127.0.0.1:4433', nonceThenT(0x00, 'T 4')),
    vector('IPv4', 7, fixed('secret 7', 32), '192.0.2.255:65535', fixed('random 7', 21)),
    vector('mapped IPv4', 8, fixed('secret 8', 32), '[::FFFF:c000:201]:1', fixed('random 8', 21)),
    vector('mid epoch', 10, fixed('secret 10', 32), 'localhost:8443', fixed('random 10', 21)),
  ];
  return { salt: HKDF_SALT, info: HKDF_INFO, vectors, forgeries: forgeries(vectors) };
}

function forgeries([first, , , second]: readonly RoutableIdVector[]): RoutableIdForgery[] {
  const id = Buffer.from(first?.id ?? '', 'hex');
  const changed = (comment: string, at: number, mask: number): RoutableIdForgery => {
    const copy = Buffer.from(id);
    copy[at] = (copy[at] as number) ^ mask;
    return { comment, id: hex(copy) };
  };
  return [
    changed('another format', 0, 0x30),
    changed('an epoch nobody knows', 0, 0x05),
    changed('first bit of C', 1, 0x80),
    changed('last bit of C', 16, 0x01),
    changed('first bit of T', 17, 0x80),
    changed('last bit of T', 31, 0x01),
    { comment: 'zeros behind a good header', id: hex(new Uint8Array(32).fill(0x10, 0, 1)) },
    { comment: 'sealed under another secret', id: `10${(second?.id ?? '').slice(2)}` },
  ];
}

function nonceThenT(nonce: number, label: string): Uint8Array {
  const random = new Uint8Array(21).fill(nonce, 0, 6);
  random.set(fixed(label, 15), 6);
  return random;
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(makeVectors(), null, 2)}\n`);
