import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type ClientHello, parseClientHello } from '../../balancer/client-hello.ts';
import { bytesOf, loadRecordings, type Recording } from '../hellos/recording.ts';

const TLS13_TO_10 = [0x0304, 0x0303, 0x0302, 0x0301];
const TLS13_AND_12 = [0x0304, 0x0303];
const BROWSER = ['h2', 'http/1.1'];
/** x25519 with ML-KEM-768 (0x11ec) and its share of 1,216 bytes (0x04c0). */
const POST_QUANTUM_SHARE = Buffer.of(0x11, 0xec, 0x04, 0xc0);

interface Expected {
  /** Without GREASE. */
  readonly versions: readonly number[];
  readonly alpn?: readonly string[];
  readonly sni?: null;
  /** `none`: empty; `noise`: 32 bytes that no server gave; `given`: the ID of a real 1.2 session. */
  readonly sessionId: 'none' | 'noise' | 'given';
  /** Per identity: `given` is the ID of a session, a number the length of anything else. */
  readonly psks?: readonly ('given' | number)[];
  readonly records?: number;
  readonly postQuantum?: true;
  readonly grease?: true;
  /** Bytes behind the hello: early data. */
  readonly more?: true;
}

const chromium = {
  versions: TLS13_AND_12,
  alpn: BROWSER,
  postQuantum: true,
  grease: true,
} as const;
const node24 = { versions: TLS13_AND_12, alpn: BROWSER, postQuantum: true } as const;
const node20 = { versions: TLS13_AND_12, alpn: BROWSER } as const;
const go = { versions: TLS13_AND_12, alpn: BROWSER } as const;
const openssl = { versions: TLS13_TO_10 } as const;

const expected: Record<string, Expected> = {
  'chromium-tls12-session-id-offering-tls13': { ...chromium, sessionId: 'given' },
  'chromium-tls13': { ...chromium, sessionId: 'noise' },
  'chromium-tls13-psk-32': { ...chromium, sessionId: 'noise', psks: ['given'] },
  'chromium-tls13-psk-ticket': { ...chromium, sessionId: 'noise', psks: [224] },
  'curl-h2': { ...openssl, alpn: BROWSER, sessionId: 'noise' },
  'curl-tls12': { versions: [], alpn: BROWSER, sessionId: 'none' },
  'curl-tls13-psk-32': { ...openssl, alpn: ['http/1.1'], sessionId: 'noise', psks: ['given'] },
  'curl-tls13-psk-ticket': { ...openssl, alpn: ['http/1.1'], sessionId: 'noise', psks: [224] },
  'gnutls-tls12': { versions: [], sessionId: 'none' },
  'gnutls-tls12-session-id': { versions: [], sessionId: 'given' },
  'gnutls-tls13': { versions: TLS13_TO_10, alpn: ['h2'], sessionId: 'noise' },
  'gnutls-tls13-psk-32': { versions: TLS13_TO_10, sessionId: 'noise', psks: ['given'] },
  'gnutls-tls13-psk-ticket': { versions: TLS13_TO_10, sessionId: 'noise', psks: [208] },
  'gnutls-tls13-psk-two': { versions: TLS13_TO_10, sessionId: 'noise', psks: ['given', 8] },
  'go-tls12': { versions: [0x0303], alpn: BROWSER, sessionId: 'noise' },
  'go-tls12-ticket': { versions: [0x0303], alpn: BROWSER, sessionId: 'noise' },
  'go-tls13': { ...go, sessionId: 'noise' },
  'go-tls13-psk-32': { ...go, sessionId: 'noise', psks: ['given'] },
  'go-tls13-psk-ticket': { ...go, sessionId: 'noise', psks: [224] },
  'node20-tls12': { versions: [], alpn: BROWSER, sessionId: 'none' },
  'node20-tls12-session-id-offering-tls13': { ...node20, sessionId: 'given' },
  'node20-tls13': { ...node20, sessionId: 'noise' },
  'node20-tls13-psk-32': { ...node20, sessionId: 'noise', psks: ['given'] },
  'node20-tls13-psk-ticket': { ...node20, sessionId: 'noise', psks: [224] },
  'node24-tls12': { versions: [], alpn: BROWSER, sessionId: 'none' },
  'node24-tls12-session-id-offering-tls13': { ...node24, sessionId: 'given' },
  'node24-tls13': { ...node24, sessionId: 'noise' },
  'node24-tls13-psk-32': { ...node24, sessionId: 'noise', psks: ['given'] },
  'node24-tls13-psk-ticket': { ...node24, sessionId: 'noise', psks: [224] },
  'openssl-early-data': { ...openssl, sessionId: 'noise', psks: [32], more: true },
  'openssl-fragmented': { ...openssl, alpn: names(16), sessionId: 'noise', records: 5 },
  'openssl-no-sni': { ...openssl, sni: null, sessionId: 'noise' },
  'openssl-tls12': { versions: [], alpn: BROWSER, sessionId: 'none' },
  'openssl-tls12-session-id': { versions: [], sessionId: 'given' },
  'openssl-tls12-session-id-offering-tls13': { ...openssl, sessionId: 'given' },
  // A 1.2 client with a ticket makes up an ID, to see whether the server took it (RFC 5077 §3.4).
  'openssl-tls12-ticket': { versions: [], sessionId: 'noise' },
  'openssl-tls13': { ...openssl, alpn: BROWSER, sessionId: 'noise' },
  'openssl-tls13-psk-32': { ...openssl, sessionId: 'noise', psks: ['given'] },
  'openssl-tls13-psk-ticket': { ...openssl, sessionId: 'noise', psks: [208] },
  'openssl-tls13-psk-two': { ...openssl, sessionId: 'noise', psks: ['given', 15] },
  'openssl-two-records': { ...openssl, alpn: names(16), sessionId: 'noise', records: 2 },
};

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `proto${String(i).padStart(4, '0')}`);
}

const recordings = loadRecordings();
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** RFC 8701 §2: two equal bytes that end in 1010. */
const isGrease = (value: number): boolean =>
  (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff);

function countRecords(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; count++) {
    at += 5 + (((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0));
  }
  return count;
}

function hello(recording: Recording): ClientHello {
  const verdict = parseClientHello(bytesOf(recording));
  assert.equal(verdict.kind, 'hello', JSON.stringify(verdict));
  return verdict;
}

test('every recording is expected, and every expected one is there', () => {
  assert.deepEqual(recordings.map(({ name }) => name).sort(), Object.keys(expected).sort());
});

for (const recording of recordings) {
  test(`${recording.name} (${recording.version.slice(0, 30)})`, () => {
    const want = expected[recording.name];
    assert.ok(want !== undefined);
    const bytes = bytesOf(recording);
    const got = hello(recording);

    assert.equal(got.legacyVersion, 0x0303);
    assert.equal(got.sni, want.sni === null ? null : 'farm.example');
    assert.deepEqual(got.alpn, want.alpn ?? []);
    assert.deepEqual(
      got.supportedVersions.filter((version) => !isGrease(version)),
      want.versions,
    );
    assert.equal(got.offersTls13, want.versions.includes(0x0304));
    assert.equal(got.supportedVersions.some(isGrease), want.grease === true);
    assert.equal(got.consumed < bytes.length, want.more === true);

    const given = recording.given.includes(hex(got.legacySessionId));
    const sessionId = got.legacySessionId.length === 0 ? 'none' : given ? 'given' : 'noise';
    assert.equal(sessionId, want.sessionId);
    if (sessionId !== 'none') assert.equal(got.legacySessionId.length, 32);

    const psks = want.psks ?? [];
    assert.equal(got.pskCount, psks.length);
    assert.deepEqual(
      got.pskIdentities.map((id) => (recording.given.includes(hex(id)) ? 'given' : id.length)),
      psks,
    );
    for (const [i, kind] of psks.entries()) {
      if (kind === 'given') assert.equal(got.pskIdentities[i]?.length, 32);
    }

    assert.equal(countRecords(bytes.subarray(0, got.consumed)), want.records ?? 1);
    assert.equal(Buffer.from(bytes).includes(POST_QUANTUM_SHARE), want.postQuantum === true);
    if (want.postQuantum === true) assert.ok(got.consumed > 1_460, 'more than one TCP segment');
  });

  test(`${recording.name}: the same answer after every byte`, () => {
    const bytes = bytesOf(recording);
    const { consumed } = hello(recording);
    // Every length of the longest one would take a second and say nothing new.
    const step = bytes.length > 4_000 ? 97 : 1;
    for (let length = 0; length < consumed; length += step) {
      const verdict = parseClientHello(bytes.subarray(0, length));
      assert.equal(verdict.kind, 'incomplete');
      assert.ok(verdict.kind === 'incomplete' && verdict.needed > length);
      assert.ok(verdict.kind === 'incomplete' && verdict.needed <= consumed);
    }
    assert.equal(parseClientHello(bytes.subarray(0, consumed)).kind, 'hello');
  });
}
