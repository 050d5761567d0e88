import type { SessionRecord } from '../../native/index.ts';

export const nowS = 1_800_000_000;

export function idOf(n: number): Uint8Array {
  const id = new Uint8Array(32).fill(0x1d);
  new DataView(id.buffer).setUint32(0, n);
  return id;
}

/** Neighbours have different policies. */
export function policyOf(n: number): Uint8Array {
  return new Uint8Array(32).fill(n & 1);
}

/** The only four records that are right for an ID; `uses` says which. */
export function recordOf(n: number, revision: number, largest: number): SessionRecord {
  const mixed = Math.imul(n * 4 + revision + 1, 0x9e3779b1) >>> 0;
  const der = new Uint8Array(1 + (mixed % largest)).fill(mixed >>> 24);
  new DataView(der.buffer).setUint8(0, revision);
  return {
    der,
    expiresAtS: nowS + 1 + (mixed % 1_000),
    fullHandshakeAtS: nowS - revision,
    uses: revision,
    originNode: mixed,
  };
}
