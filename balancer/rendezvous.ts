/**
 * Rendezvous hashing (highest random weight; Thaler & Ravishankar 1998): every balancer gives every
 * terminator a score for a key, and the highest wins. No table and nothing to agree on: when a
 * terminator goes, only its keys move, each to its own second best; when it comes back, they return.
 *
 * The hash is quick and well spread, not secret: who picks his key can pick his terminator. That is
 * why `pick.ts` bounds the load.
 */

/** A key's hash, 32 bits. FNV-1a over bytes, finished by `mix`, as the last byte is barely spread. */
export function hashBytes(bytes: Uint8Array): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < bytes.length; i++) {
    hash = Math.imul(hash ^ (bytes[i] as number), FNV_PRIME);
  }
  return mix(hash);
}

/** The same for text, by its UTF-16 units: equal to `hashBytes` of its bytes when it is ASCII. */
export function hashText(text: string): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME);
  }
  return mix(hash);
}

/**
 * A client's address as a key: an IPv4 client that arrived on an IPv6 socket (`::ffff:192.0.2.1`)
 * is the same client.
 *
 * @param source literal address as text, without a port.
 */
export function hashSource(source: string): number {
  return hashText(source.startsWith(MAPPED) ? source.slice(MAPPED.length) : source);
}

/**
 * How well a terminator suits a key; the highest score wins. Positive for weights above 0, and chosen
 * in proportion to them (weighted rendezvous: -w / ln u, u uniform in (0, 1)).
 *
 * @param key `hashBytes` or `hashSource`.
 * @param seed `hashText` of the terminator's canonical name, so that no order of a list matters.
 */
export function score(key: number, seed: number, weight: number): number {
  // Two rounds with different seeds: 32 bits would tie now and then, and 53 fit into a double.
  const high = mix(key ^ seed);
  const low = mix(high ^ Math.imul(seed, GOLDEN));
  const u = (high * 0x20_0000 + (low >>> 11) + 0.5) / 2 ** 53;
  return -weight / Math.log(u);
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const GOLDEN = 0x9e3779b1;
const MAPPED = '::ffff:';

/** murmur3's finaliser: every input bit changes every output bit with probability one half. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
