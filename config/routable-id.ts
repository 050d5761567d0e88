import { type Cipheriv, createCipheriv, createDecipheriv } from 'node:crypto';

/**
 * Routable IDs: 32 bytes that are a TLS 1.2 session ID or a TLS 1.3 PSK identity, and in which the
 * terminator that made the session has sealed its node id. Inspired by QUIC-LB.
 *
 *     0        1                         17                     32
 *     ┌────────┬─────────────────────────┬──────────────────────┐
 *     │ header │            C            │          T           │
 *     └────────┴─────────────────────────┴──────────────────────┘
 *     header   format 1 in the high nibble, epoch in the low one
 *     T        15 random bytes
 *     C        AES256_k1( P xor AES256_k2( header ‖ T ) )
 *     P        node id 4 (big-endian) ‖ zero 6 ‖ nonce 6 (random)
 *
 * The zeros are check bits: a random or altered ID passes once in 2^48. Labels, vectors and reasons:
 * docs/wire/routable-id.md. The C++ half is native/src/routable_id.h.
 */
export const ROUTABLE_ID_LENGTH = 32;
/** What sealing wants: nonce 6 ‖ T 15. */
export const ROUTABLE_ID_RANDOM_LENGTH = 21;

const FORMAT = 0x10;
const NONCE_LENGTH = 6;
const BLOCK = 16;
const T_OFFSET = 1 + BLOCK;

/** One epoch's AES-256 keys, 32 bytes each (`deriveRoutingKeys`). */
export interface RoutableIdKeys {
  readonly epoch: number;
  readonly k1: Uint8Array;
  readonly k2: Uint8Array;
}

/**
 * Make an ID that names `nodeId`.
 *
 * @param nodeId 0 .. 2^32 - 1.
 * @param random 21 bytes from a cryptographic generator, never used before.
 * @returns 32 bytes.
 */
export function sealRoutableId(
  { epoch, k1, k2 }: RoutableIdKeys,
  nodeId: number,
  random: Uint8Array,
): Uint8Array {
  if (random.length !== ROUTABLE_ID_RANDOM_LENGTH) throw new TypeError('21 random bytes');
  const id = new Uint8Array(ROUTABLE_ID_LENGTH);
  id[0] = FORMAT | epoch;
  id.set(random.subarray(NONCE_LENGTH), T_OFFSET);

  const plain = new Uint8Array(BLOCK);
  new DataView(plain.buffer).setUint32(0, nodeId);
  plain.set(random.subarray(0, NONCE_LENGTH), BLOCK - NONCE_LENGTH);

  const mask = aesBlock(createCipheriv('aes-256-ecb', k2, null), maskInput(id));
  id.set(aesBlock(createCipheriv('aes-256-ecb', k1, null), xor(plain, mask)), 1);
  return id;
}

/** What a verified ID says. */
export interface OpenedId {
  readonly epoch: number;
  /** 0 .. 2^32 - 1. */
  readonly nodeId: number;
}

export interface RoutableIdOpener {
  /** What the ID names; null for any other length, an unknown format or epoch, or wrong check bits. */
  open(id: Uint8Array): OpenedId | null;
}

/** An opener for several epochs. It keeps its cipher contexts: opening costs two AES blocks. */
export function createRoutableIdOpener(keys: readonly RoutableIdKeys[]): RoutableIdOpener {
  const ciphers = new Array<{ mask: Cipheriv; plain: Cipheriv } | undefined>(16).fill(undefined);
  for (const { epoch, k1, k2 } of keys) {
    ciphers[epoch] = {
      mask: createCipheriv('aes-256-ecb', k2, null).setAutoPadding(false),
      plain: createDecipheriv('aes-256-ecb', k1, null).setAutoPadding(false),
    };
  }
  const block = new Uint8Array(BLOCK);
  return {
    open(id) {
      if (id.length !== ROUTABLE_ID_LENGTH) return null;
      const header = id[0] as number;
      const epoch = header & 0x0f;
      const cipher = ciphers[epoch];
      if ((header & 0xf0) !== FORMAT || cipher === undefined) return null;

      block[0] = header;
      for (let i = 1; i < BLOCK; i++) block[i] = id[T_OFFSET + i - 1] as number;
      const mask = cipher.mask.update(block);
      for (let i = 0; i < BLOCK; i++) block[i] = id[1 + i] as number;
      const masked = cipher.plain.update(block);

      // All six check bytes are looked at, whatever the first says.
      let check = 0;
      for (let i = 4; i < 10; i++) check |= (masked[i] as number) ^ (mask[i] as number);
      if (check !== 0) return null;
      return { epoch, nodeId: (masked.readUInt32BE(0) ^ mask.readUInt32BE(0)) >>> 0 };
    },
  };
}

/** header ‖ T: exactly one AES block. */
function maskInput(id: Uint8Array): Uint8Array {
  const block = new Uint8Array(BLOCK);
  block[0] = id[0] as number;
  block.set(id.subarray(T_OFFSET), 1);
  return block;
}

/** ECB without padding answers a whole block at once. */
function aesBlock(cipher: Cipheriv, block: Uint8Array): Uint8Array {
  return cipher.setAutoPadding(false).update(block);
}

function xor(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((byte, i) => byte ^ (b[i] as number));
}
