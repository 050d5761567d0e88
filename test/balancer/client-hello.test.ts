import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  type ClientHello,
  type HelloVerdict,
  MAX_HELLO_BYTES,
  NOT_TLS,
  type NotTlsReason,
  parseClientHello,
} from '../../balancer/client-hello.ts';
import * as build from './build-hello.ts';
import { buildHello } from './build-hello.ts';

const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const id = (fill: number, length = 32): Uint8Array => new Uint8Array(length).fill(fill);
const TLS13 = build.supportedVersions(0x0304, 0x0303);

function parsed(bytes: Uint8Array): ClientHello {
  const verdict = parseClientHello(bytes);
  assert.equal(verdict.kind, 'hello', JSON.stringify(verdict));
  return verdict;
}

/** Verdicts without what legitimately differs between a view and a copy. */
function comparable(verdict: HelloVerdict): unknown {
  return verdict.kind !== 'hello'
    ? verdict
    : {
        ...verdict,
        legacySessionId: [...verdict.legacySessionId],
        cipherSuites: [...verdict.cipherSuites],
        pskIdentities: verdict.pskIdentities.map((identity) => [...identity]),
      };
}

const good: { name: string; bytes: Uint8Array; expect: Partial<ClientHello> }[] = [
  {
    name: 'an old 1.2 hello without extensions',
    bytes: buildHello({ extensions: null }),
    expect: {
      legacyVersion: 0x0303,
      supportedVersions: [],
      offersTls13: false,
      sni: null,
      alpn: [],
    },
  },
  {
    name: 'an empty list of extensions',
    bytes: buildHello(),
    expect: { offersTls13: false, pskCount: 0 },
  },
  {
    name: 'a 1.3 hello',
    bytes: buildHello({
      sessionId: id(7),
      extensions: [build.serverName('Shop.Example'), build.alpn('h2', 'http/1.1'), TLS13],
    }),
    expect: {
      sni: 'shop.example',
      alpn: ['h2', 'http/1.1'],
      supportedVersions: [0x0304, 0x0303],
      offersTls13: true,
    },
  },
  {
    name: 'GREASE everywhere',
    bytes: buildHello({
      cipherSuites: [0x0a0a, 0x1301],
      extensions: [
        build.extension(0x4a4a, new Uint8Array(0)),
        build.alpn('\x0a\x0a', 'h2'),
        build.supportedVersions(0x7a7a, 0x0304),
        build.extension(0xfafa, Uint8Array.of(0)),
      ],
    }),
    expect: { supportedVersions: [0x7a7a, 0x0304], offersTls13: true, alpn: ['\x0a\x0a', 'h2'] },
  },
  {
    name: 'record version 0x0303',
    bytes: buildHello({ recordVersion: 0x0303, extensions: [TLS13] }),
    expect: { offersTls13: true },
  },
  {
    name: 'one byte per record, the handshake header included',
    bytes: buildHello({ records: [1], extensions: [build.serverName('a.example')] }),
    expect: { sni: 'a.example' },
  },
  {
    name: 'SSL 3 as the hello version: the terminator answers that',
    bytes: buildHello({ legacyVersion: 0x0300, extensions: null }),
    expect: { legacyVersion: 0x0300 },
  },
  {
    name: 'a second name type beside the host name',
    bytes: buildHello({
      extensions: [
        build.extension(
          0,
          build.vector16(
            Buffer.concat([
              Buffer.from([9, 0, 1, 65]),
              Buffer.from([0]),
              build.vector16(ascii('b.example')),
            ]),
          ),
        ),
      ],
    }),
    expect: { sni: 'b.example' },
  },
  {
    name: 'an unread extension twice',
    bytes: buildHello({ extensions: [build.padding(20), build.padding(20)] }),
    expect: {},
  },
];

for (const { name, bytes, expect } of good) {
  test(`good: ${name}`, () => {
    const hello = parsed(bytes);
    assert.equal(hello.consumed, bytes.length);
    for (const [field, value] of Object.entries(expect)) {
      assert.deepEqual(hello[field as keyof ClientHello], value, field);
    }
  });
}

const zero = new Uint8Array(0);
const bad: { name: string; bytes: Uint8Array; reason: NotTlsReason }[] = [
  { name: 'GET', bytes: ascii('GET / HTTP/1.1\r\n'), reason: 'http' },
  { name: 'the HTTP/2 preface', bytes: ascii('PRI * HTTP/2.0\r\n'), reason: 'http' },
  { name: 'PROXY v1', bytes: ascii('PROXY TCP4 1.2.3.4'), reason: 'proxy-header' },
  { name: 'PROXY v2', bytes: ascii('\r\n\r\n\0\r\nQUIT\n'), reason: 'proxy-header' },
  { name: 'SSL 2', bytes: Uint8Array.of(0x80, 0x2e, 1, 3, 1, 0, 21), reason: 'ssl2' },
  { name: 'high bit, not SSL 2', bytes: Uint8Array.of(0x80, 0x2e, 9), reason: 'not-handshake' },
  { name: 'SSH', bytes: ascii('SSH-2.0-x'), reason: 'not-handshake' },
  { name: 'an alert', bytes: Uint8Array.of(21, 3, 1, 0, 2, 1, 0), reason: 'not-handshake' },
  { name: 'zeros', bytes: new Uint8Array(64), reason: 'not-handshake' },
  { name: 'record major 2', bytes: Uint8Array.of(22, 2), reason: 'record-version' },
  { name: 'an empty record', bytes: Uint8Array.of(22, 3, 1, 0, 0), reason: 'record-empty' },
  { name: '2^14 + 1', bytes: Uint8Array.of(22, 3, 1, 0x40, 1), reason: 'record-too-large' },
  {
    name: 'a record that goes on after the hello',
    bytes: (() => {
      const message = build.buildMessage({});
      return build.frame(Buffer.concat([message, Uint8Array.of(0)]), [message.length + 1]);
    })(),
    reason: 'bytes-after-hello',
  },
  {
    name: 'an empty record in the middle',
    bytes: Buffer.concat([
      build.frame(build.buildMessage({}).subarray(0, 20), [20]),
      Uint8Array.of(22, 3, 1, 0, 0),
    ]),
    reason: 'record-empty',
  },
  {
    name: 'an alert in the middle',
    bytes: Buffer.concat([
      build.frame(build.buildMessage({}).subarray(0, 20), [20]),
      Uint8Array.of(21, 3, 1, 0, 2, 1, 0),
    ]),
    reason: 'record-type',
  },
  {
    name: 'a ServerHello',
    bytes: build.frame(build.message(2, new Uint8Array(60)), [64]),
    reason: 'not-client-hello',
  },
  {
    name: 'a hello of 40 bytes',
    bytes: build.frame(build.message(1, new Uint8Array(40)), [64]),
    reason: 'hello-short',
  },
  {
    name: 'a hello of 16 MiB, known at its fourth byte',
    bytes: Uint8Array.of(22, 3, 1, 2, 0, 1, 0xff, 0xff, 0xff),
    reason: 'too-large',
  },
  {
    name: 'SSL 2 in the hello',
    bytes: buildHello({ legacyVersion: 0x0200 }),
    reason: 'hello-version',
  },
  {
    name: 'session id of 33',
    bytes: buildHello({ sessionId: id(1, 33) }),
    reason: 'bad-session-id',
  },
  {
    name: 'no suite',
    bytes: buildHello({ cipherSuites: [], extensions: [build.padding(9)] }),
    reason: 'bad-cipher-suites',
  },
  {
    name: 'no compression',
    bytes: buildHello({ compression: zero, sessionId: id(1) }),
    reason: 'bad-compression',
  },
  {
    name: 'bytes behind the extensions',
    bytes: tailed(buildHello({ extensions: [TLS13] })),
    reason: 'bad-extensions',
  },
  {
    name: 'an extension longer than its list',
    bytes: buildHello({ extensions: [Uint8Array.of(0, 99, 0, 9, 1)] }),
    reason: 'bad-extensions',
  },
  {
    name: 'half an extension header',
    bytes: buildHello({ extensions: [Uint8Array.of(0, 99, 0)] }),
    reason: 'bad-extensions',
  },
  {
    name: 'two server_name extensions',
    bytes: buildHello({ extensions: [build.serverName('a'), build.serverName('b')] }),
    reason: 'duplicate-extension',
  },
  {
    name: 'two supported_versions extensions',
    bytes: buildHello({ extensions: [TLS13, TLS13] }),
    reason: 'duplicate-extension',
  },
  {
    name: 'two host names',
    bytes: buildHello({ extensions: [build.serverName('a', 'b')] }),
    reason: 'bad-server-name',
  },
  {
    name: 'an empty host name',
    bytes: buildHello({ extensions: [build.serverName('')] }),
    reason: 'bad-server-name',
  },
  {
    name: 'NUL in a host name',
    bytes: buildHello({ extensions: [build.serverName('a\0b')] }),
    reason: 'bad-server-name',
  },
  {
    name: 'a host name of 256',
    bytes: buildHello({ extensions: [build.serverName('a'.repeat(256))] }),
    reason: 'bad-server-name',
  },
  {
    name: 'no host name',
    bytes: buildHello({ extensions: [build.extension(0, zero)] }),
    reason: 'bad-server-name',
  },
  { name: 'no protocol', bytes: buildHello({ extensions: [build.alpn()] }), reason: 'bad-alpn' },
  {
    name: 'an empty protocol',
    bytes: buildHello({ extensions: [build.alpn('h2', '')] }),
    reason: 'bad-alpn',
  },
  {
    name: 'an odd list of versions',
    bytes: buildHello({ extensions: [build.extension(43, Uint8Array.of(3, 3, 4, 3))] }),
    reason: 'bad-supported-versions',
  },
  {
    name: 'no version',
    bytes: buildHello({ extensions: [build.supportedVersions()] }),
    reason: 'bad-supported-versions',
  },
  {
    name: 'pre_shared_key is not last',
    bytes: buildHello({ extensions: [build.preSharedKey([id(1)]), TLS13] }),
    reason: 'bad-pre-shared-key',
  },
  {
    name: 'no identity',
    bytes: buildHello({ extensions: [build.preSharedKey([])] }),
    reason: 'bad-pre-shared-key',
  },
  {
    name: 'an empty identity',
    bytes: buildHello({ extensions: [build.preSharedKey([zero])] }),
    reason: 'bad-pre-shared-key',
  },
  {
    name: 'fewer binders than identities',
    bytes: buildHello({ extensions: [build.preSharedKey([id(1), id(2)], 1)] }),
    reason: 'bad-pre-shared-key',
  },
];

/** One byte more in the message than its fields say; all lengths around it are right. */
function tailed(hello: Uint8Array): Uint8Array {
  const body = Buffer.concat([hello.subarray(9), Uint8Array.of(0)]);
  return build.frame(build.message(1, body), [16_384]);
}

for (const { name, bytes, reason } of bad) {
  test(`bad: ${name}`, () => {
    assert.deepEqual(parseClientHello(bytes), { kind: 'not-tls', reason });
  });
}

test('every reason has a case above', () => {
  const covered = new Set(bad.map((entry) => entry.reason));
  assert.deepEqual(
    Object.keys(NOT_TLS).filter((reason) => !covered.has(reason as NotTlsReason)),
    [],
  );
});

/** A hello of exactly `raw` bytes, in full records. */
function helloOfRawSize(raw: number): Uint8Array {
  const bare = build.buildMessage({ extensions: [] }).length;
  const records = Math.ceil(raw / (16_384 + 5));
  // One extension holds 65,535 bytes and the list of extensions does too.
  const hello = buildHello({ extensions: [build.padding(raw - 5 * records - bare)] });
  assert.equal(hello.length, raw);
  return hello;
}

test('a hello of 65,536 raw bytes is one; one byte more is too large, and that is known at once', () => {
  const largest = helloOfRawSize(MAX_HELLO_BYTES);
  assert.equal(parsed(largest).consumed, MAX_HELLO_BYTES);
  const larger = helloOfRawSize(MAX_HELLO_BYTES + 1);
  assert.deepEqual(parseClientHello(larger), { kind: 'not-tls', reason: 'too-large' });
  assert.deepEqual(parseClientHello(larger.subarray(0, 9)), {
    kind: 'not-tls',
    reason: 'too-large',
  });
});

test('many small records count with their headers', () => {
  // 20,000 message bytes in records of 2: 50,000 raw bytes of headers on top.
  const hello = buildHello({ records: [2], extensions: [build.padding(20_000)] });
  assert.deepEqual(parseClientHello(hello), { kind: 'not-tls', reason: 'too-large' });
  const smaller = buildHello({ records: [2], extensions: [build.padding(18_000)] });
  assert.equal(parsed(smaller).consumed, smaller.length);
});

test('what follows the hello is not looked at', () => {
  const hello = buildHello({ extensions: [TLS13] });
  const followed = Buffer.concat([hello, ascii('early data, or anything')]);
  assert.equal(parsed(followed).consumed, hello.length);
  const more = Buffer.concat([hello, new Uint8Array(MAX_HELLO_BYTES)]);
  assert.equal(parsed(more).consumed, hello.length);
});

test('of 1,200 identities the first 8 are handed on and all are counted', () => {
  const identities = Array.from({ length: 1_200 }, (_, i) => id(i & 255, 8));
  const hello = parsed(buildHello({ extensions: [TLS13, build.preSharedKey(identities)] }));
  assert.equal(hello.pskCount, 1_200);
  assert.deepEqual(
    hello.pskIdentities.map((identity) => [...identity]),
    identities.slice(0, 8).map((identity) => [...identity]),
  );
});

test('of 1,000 protocols the first 16 are handed on', () => {
  const names = Array.from({ length: 1_000 }, (_, i) => `p${i}`);
  const hello = parsed(buildHello({ extensions: [build.alpn(...names)] }));
  assert.deepEqual(hello.alpn, names.slice(0, 16));
});

const anyHello = fc
  .record({
    sessionId: fc.uint8Array({ maxLength: 32 }),
    name: fc.option(fc.stringMatching(/^[a-z]{1,20}\.example$/), { nil: null }),
    protocols: fc.array(fc.stringMatching(/^[a-z0-9/.]{1,9}$/), { maxLength: 20 }),
    versions: fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 10 }),
    identities: fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 12 }),
    pad: fc.integer({ min: 4, max: 2_000 }),
    records: fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 8 }),
  })
  .map((parts) => {
    const { sessionId, name, protocols, versions, identities, records } = parts;
    const extensions = [build.padding(parts.pad)];
    if (name !== null) extensions.push(build.serverName(name));
    if (protocols.length > 0) extensions.push(build.alpn(...protocols));
    if (versions.length > 0) extensions.push(build.supportedVersions(...versions));
    if (identities.length > 0) extensions.push(build.preSharedKey(identities));
    return { ...parts, bytes: buildHello({ sessionId, extensions, records }) };
  });

test('what a hello says comes out, however it is cut into records', () => {
  fc.assert(
    fc.property(anyHello, (parts) => {
      const hello = parsed(parts.bytes);
      assert.equal(hello.consumed, parts.bytes.length);
      assert.deepEqual([...hello.legacySessionId], [...parts.sessionId]);
      assert.equal(hello.sni, parts.name);
      assert.deepEqual(hello.alpn, parts.protocols.slice(0, 16));
      assert.deepEqual(hello.supportedVersions, parts.versions);
      assert.equal(hello.offersTls13, parts.versions.includes(0x0304));
      assert.equal(hello.pskCount, parts.identities.length);
      assert.deepEqual(
        hello.pskIdentities.map((identity) => [...identity]),
        parts.identities.slice(0, 8).map((identity) => [...identity]),
      );
    }),
  );
});

/** A hello with a few bytes changed, or bytes that are no hello, or a start of TLS and then anything. */
const anyBytes = fc.oneof(
  anyHello.map(({ bytes }) => bytes),
  fc
    .tuple(
      anyHello,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      }),
    )
    .map(([{ bytes }, changes]) => {
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    }),
  fc.uint8Array({ maxLength: 300 }),
  fc
    .uint8Array({ maxLength: 300 })
    .map((rest) => new Uint8Array([22, 3, 1, 1, 0, 1, 0, 0, 200, 3, 3, ...rest])),
);

test('every prefix is incomplete or has the final verdict, and asks for more than is there', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const final = comparable(parseClientHello(bytes));
      for (let length = 0; length < bytes.length; length++) {
        const verdict = parseClientHello(bytes.subarray(0, length));
        if (verdict.kind === 'incomplete') assert.ok(verdict.needed > length, `at ${length}`);
        else assert.deepEqual(comparable(verdict), final, `at ${length}`);
      }
    }),
  );
});

test('"needed" is a promise: there is no verdict before that many bytes', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      for (let length = 0; length <= bytes.length; ) {
        const verdict = parseClientHello(bytes.subarray(0, length));
        if (verdict.kind !== 'incomplete') return;
        for (let less = length; less < Math.min(verdict.needed, bytes.length); less++) {
          assert.equal(parseClientHello(bytes.subarray(0, less)).kind, 'incomplete');
        }
        length = verdict.needed;
      }
    }),
    { numRuns: 200 },
  );
});

test('nothing outside the bytes given is read', () => {
  fc.assert(
    fc.property(anyBytes, fc.integer({ min: 0, max: 255 }), (bytes, poison) => {
      const around = new Uint8Array(bytes.length + 200).fill(poison);
      around.set(bytes, 100);
      const inside = around.subarray(100, 100 + bytes.length);
      assert.deepEqual(comparable(parseClientHello(inside)), comparable(parseClientHello(bytes)));
    }),
  );
});

test('the bytes are not changed', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const copy = bytes.slice();
      parseClientHello(bytes);
      assert.deepEqual(bytes, copy);
    }),
  );
});

test('64 KiB of the worst takes milliseconds', () => {
  const worst = [
    buildHello({ records: [1], extensions: [build.padding(10_800)] }),
    buildHello({ extensions: [build.alpn(...new Array<string>(32_000).fill('x'))] }),
    buildHello({ extensions: [build.preSharedKey(new Array<Uint8Array>(1_500).fill(id(1, 4)))] }),
    buildHello({ extensions: new Array<Uint8Array>(16_000).fill(build.padding(4)) }),
  ];
  for (const bytes of worst) {
    const start = performance.now();
    parsed(bytes);
    const tookMs = performance.now() - start;
    assert.ok(tookMs < 100, `${tookMs} ms`);
  }
});
