import { hkdfSync } from 'node:crypto';

import { OperatorError } from './operator-error.ts';

/**
 * The `routing` secret: what balancers and terminators share so that a session ID can name the node
 * that made it. One line per epoch, `<epoch> <64 hex digits>`; the first line is current (terminators
 * seal with it), the others are accepted (balancers open with all). `#` comments and blank lines are
 * skipped. Format and labels: docs/wire/routable-id.md.
 */
export interface RoutingSecret {
  /** At least one, current first; epochs and secrets are distinct. */
  readonly epochs: readonly RoutingEpoch[];
}

export interface RoutingEpoch {
  /** 0..15: what fits into the low nibble of an ID's header. */
  readonly epoch: number;
  /** 32 bytes. */
  readonly secret: Uint8Array;
}

/** What one epoch's secret turns into. All keys are 32 bytes. */
export interface RoutingKeys {
  readonly epoch: number;
  /** AES-256: hides node id, check bits and nonce. */
  readonly k1: Uint8Array;
  /** AES-256: turns header and T into the mask. */
  readonly k2: Uint8Array;
  /** HMAC-SHA256: hashes a node's name to its id (`node-id.ts`). */
  readonly nodeIdKey: Uint8Array;
}

export const EPOCHS = 16;
export const SECRET_LENGTH = 32;

/** HKDF-SHA256 (RFC 5869): the salt names the secret, the info names the key. ASCII, no final NUL. */
export const HKDF_SALT = 'tlsfarm routing v1';
export const HKDF_INFO = {
  k1: 'routable-id k1',
  k2: 'routable-id k2',
  nodeIdKey: 'node-id',
} as const;

/**
 * Text of a secret file to a secret.
 *
 * @throws OperatorError `routing-secret-*`; the message has the line's number, never its content.
 */
export function parseRoutingSecret(text: string): RoutingSecret {
  const epochs: RoutingEpoch[] = [];
  const lineOfEpoch = new Map<number, number>();
  const lineOfSecret = new Map<string, number>();
  // A byte order mark is what an editor added, not what the operator meant.
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .entries()) {
    const line = index + 1;
    const content = raw.replace(/#.*/, '').trim();
    if (content === '') continue;
    const { epoch, hex } = parseLine(content, line);

    const sameEpoch = lineOfEpoch.get(epoch);
    if (sameEpoch !== undefined) {
      throw new OperatorError(
        'routing-secret-epoch-twice',
        `Line ${line}: epoch ${epoch} is already on line ${sameEpoch}. ` +
          'Remove the older of the two lines.',
      );
    }
    const sameSecret = lineOfSecret.get(hex);
    if (sameSecret !== undefined) {
      throw new OperatorError(
        'routing-secret-reused',
        `Line ${line}: the same secret is already on line ${sameSecret}. ` +
          'Every epoch needs its own: openssl rand -hex 32.',
      );
    }
    lineOfEpoch.set(epoch, line);
    lineOfSecret.set(hex, line);
    epochs.push({ epoch, secret: new Uint8Array(Buffer.from(hex, 'hex')) });
  }
  if (epochs.length === 0) {
    throw new OperatorError(
      'routing-secret-empty',
      'The routing secret has no line. Write one: an epoch (0 to 15), a space, and 64 hex digits ' +
        'from openssl rand -hex 32.',
    );
  }
  return { epochs };
}

/** A secret as the text of its file; `parseRoutingSecret` reads it back. */
export function formatRoutingSecret(secret: RoutingSecret): string {
  const lines = secret.epochs.map(
    ({ epoch, secret: bytes }) => `${epoch} ${Buffer.from(bytes).toString('hex')}`,
  );
  return `# tlsfarm routing secret: epoch, 32 bytes in hex; the first line is current.\n${lines.join('\n')}\n`;
}

/** The first secret of a farm: epoch 0. `random`: 32 bytes from a cryptographic generator. */
export function newRoutingSecret(random: Uint8Array): RoutingSecret {
  return { epochs: [{ epoch: 0, secret: checkedSecret(random) }] };
}

/**
 * A secret with a new current epoch, (current + 1) mod 16. The previous ones stay accepted, `keep`
 * lines in all (2 unless told); the oldest go. Balancers have to read the new file before terminators
 * do: until then they cannot open what terminators seal.
 */
export function addRoutingEpoch(
  secret: RoutingSecret,
  random: Uint8Array,
  keep: number = 2,
): RoutingSecret {
  const current = secret.epochs[0];
  if (current === undefined) return newRoutingSecret(random);
  if (!Number.isInteger(keep) || keep < 1 || keep > EPOCHS) {
    throw new OperatorError('routing-secret-keep', `Keep from 1 to ${EPOCHS} epochs, not ${keep}.`);
  }
  const epoch = (current.epoch + 1) % EPOCHS;
  const others = secret.epochs.filter((other) => other.epoch !== epoch);
  return { epochs: [{ epoch, secret: checkedSecret(random) }, ...others].slice(0, keep) };
}

/** The keys of one epoch. */
export function deriveRoutingKeys({ epoch, secret }: RoutingEpoch): RoutingKeys {
  const key = (info: string): Uint8Array =>
    new Uint8Array(hkdfSync('sha256', secret, HKDF_SALT, info, 32));
  return {
    epoch,
    k1: key(HKDF_INFO.k1),
    k2: key(HKDF_INFO.k2),
    nodeIdKey: key(HKDF_INFO.nodeIdKey),
  };
}

function parseLine(content: string, line: number): { epoch: number; hex: string } {
  const words = content.split(/\s+/);
  const [epochText = '', hexText = ''] = words;
  if (words.length !== 2) {
    throw new OperatorError(
      'routing-secret-line',
      `Line ${line}: ${words.length === 1 ? 'one word' : `${words.length} words`} where two belong. ` +
        'Write an epoch (0 to 15), a space, and 64 hex digits.',
    );
  }
  const epoch = Number(epochText);
  if (!/^(0|[1-9][0-9]?)$/.test(epochText) || epoch >= EPOCHS) {
    throw new OperatorError(
      'routing-secret-epoch',
      `Line ${line}: the first word has to be an epoch, a decimal number from 0 to 15.`,
    );
  }
  if (hexText.length !== 2 * SECRET_LENGTH) {
    throw new OperatorError(
      'routing-secret-length',
      `Line ${line}: the secret has ${hexText.length} characters, not 64. ` +
        'Generate one with openssl rand -hex 32.',
    );
  }
  if (!/^[0-9a-fA-F]+$/.test(hexText)) {
    throw new OperatorError(
      'routing-secret-hex',
      `Line ${line}: the secret has a character that is not a hex digit. ` +
        'Generate one with openssl rand -hex 32.',
    );
  }
  const hex = hexText.toLowerCase();
  // Not a test of entropy: it catches the placeholder that somebody forgot to replace.
  if (hex === hex.slice(0, 2).repeat(SECRET_LENGTH)) {
    throw new OperatorError(
      'routing-secret-placeholder',
      `Line ${line}: the secret is one byte repeated. Generate one with openssl rand -hex 32.`,
    );
  }
  return { epoch, hex };
}

function checkedSecret(random: Uint8Array): Uint8Array {
  if (random.length !== SECRET_LENGTH) throw new TypeError('a routing secret is 32 bytes');
  return random.slice();
}
