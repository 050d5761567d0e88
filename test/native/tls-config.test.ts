/** What `checkTls` tells the operator: a stable code, the element at fault, never a key. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { before, test } from 'node:test';
import * as x509 from '@peculiar/x509';
import { type CertificatePair, native, type TlsOptions } from '../../native/index.ts';

type KeyKind = 'rsa1024' | 'rsa2048' | 'p256' | 'p384';

const ALGORITHMS = {
  rsa1024: rsa(1024, 'SHA-256'),
  rsa2048: rsa(2048, 'SHA-256'),
  p256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  p384: { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
};

/** Mozilla's intermediate list, DHE suites included: they are accepted, though never negotiated. */
const INTERMEDIATE = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'DHE-RSA-AES128-GCM-SHA256',
  'DHE-RSA-AES256-GCM-SHA384',
].join(':');

const pairs = {} as Record<KeyKind, CertificatePair>;
let ca: { certificate: x509.X509Certificate; keys: webcrypto.CryptoKeyPair };

before(async () => {
  x509.cryptoProvider.set(webcrypto as never);
  const keys = await generate('p256');
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=test CA',
    keys: keys as never,
    signingAlgorithm: ALGORITHMS.p256,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  ca = { certificate, keys };
  for (const kind of ['rsa1024', 'rsa2048', 'p256', 'p384'] as const) {
    pairs[kind] = await issue(kind);
  }
});

test('an RSA and an ECDSA certificate with the intermediate lists are fine', () => {
  assert.equal(native.checkTls(options({ certificates: [pairs.rsa2048, pairs.p256] })), null);
});

test('one certificate is enough, of either type', () => {
  for (const kind of ['rsa2048', 'p256', 'p384'] as const) {
    assert.equal(native.checkTls(options({ certificates: [pairs[kind]] })), null, kind);
  }
});

test('a chain, CRLF line ends, text around the PEM and PKCS#1 or SEC1 keys are fine', () => {
  const text = `subject: somebody\n${pairs.p256.cert}\n${ca.certificate.toString('pem')}\nend\n`;
  accepts({ cert: text.replaceAll('\n', '\r\n'), key: `\n# key\n${pairs.p256.key}` });

  const sec1 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const error = check({
    cert: pairs.p256.cert,
    key: sec1.export({ type: 'sec1', format: 'pem' }).toString(),
  });
  assert.equal(error?.code, 'KEY_MISMATCH', 'the key itself was read');

  // What `openssl ecparam -genkey` writes: the parameters first.
  const withParameters = check({
    cert: pairs.p256.cert,
    key: `-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${pairs.p256.key}`,
  });
  assert.equal(withParameters, null);
});

test('TLS 1.3 alone needs no TLS 1.2 list', () => {
  assert.equal(native.checkTls(options({ minVersion: '1.3', ciphers: '' })), null);
});

test('no certificate at all: CERT_MISSING', () => {
  refuses(options({ certificates: [] }), 'CERT_MISSING', /no certificate/, -1);
});

test('a certificate that is none: CERT_PARSE, with its index', () => {
  const { key, cert } = pairs.rsa2048;
  for (const bad of ['', 'nonsense', key]) {
    refuses(
      options({ certificates: [pairs.p256, { cert: bad, key }] }),
      'CERT_PARSE',
      /BEGIN CERTIFICATE/,
      1,
    );
  }
  refusesPair({ cert: damage(cert), key }, 'CERT_PARSE', /damaged/);
});

test('a damaged certificate further down the chain is found: CERT_PARSE', () => {
  const cert = `${pairs.p256.cert}\n${damage(ca.certificate.toString('pem'))}\n`;
  refusesPair({ cert, key: pairs.p256.key }, 'CERT_PARSE', /certificate 2 of the chain is damaged/);
});

test('a key that is none: KEY_PARSE', () => {
  const { cert } = pairs.rsa2048;
  for (const key of ['', 'nonsense', cert]) {
    refusesPair({ cert, key }, 'KEY_PARSE', /BEGIN PRIVATE KEY/);
  }
  refusesPair({ cert, key: damage(pairs.rsa2048.key) }, 'KEY_PARSE', /damaged/);
});

test('an encrypted key is said to be encrypted, in both encodings: KEY_PARSE', () => {
  const cipher = 'aes-128-cbc';
  const passphrase = 'secret';
  const pkcs8 = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  for (const type of ['pkcs8', 'pkcs1'] as const) {
    const key = pkcs8.export({ type, format: 'pem', cipher, passphrase }).toString();
    refusesPair({ cert: pairs.rsa2048.cert, key }, 'KEY_PARSE', /is encrypted: decrypt it/);
  }
});

test('the key of another certificate: KEY_MISMATCH', async () => {
  const other = await issue('rsa2048');
  refusesPair({ cert: pairs.rsa2048.cert, key: other.key }, 'KEY_MISMATCH', /does not belong/);
  refusesPair({ cert: pairs.rsa2048.cert, key: pairs.p256.key }, 'KEY_MISMATCH', /does not belong/);
});

test('a chain in the wrong order is recognised: KEY_MISMATCH', () => {
  const cert = `${ca.certificate.toString('pem')}\n${pairs.p256.cert}\n`;
  refusesPair(
    { cert, key: pairs.p256.key },
    'KEY_MISMATCH',
    /certificate 2 .* put that one .*first/,
  );
});

test('keys that we cannot serve: KEY_TYPE', () => {
  const keys = {
    'type ED25519': generateKeyPairSync('ed25519').privateKey,
    'type RSA-PSS': generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey,
    'curve secp256k1': generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey,
    '4104 bits': generateKeyPairSync('rsa', { modulusLength: 4104 }).privateKey,
  };
  for (const [expected, key] of Object.entries(keys)) {
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    refusesPair({ cert: pairs.rsa2048.cert, key: pem }, 'KEY_TYPE', new RegExp(expected));
  }
});

test('two certificates of one type: KEY_DUPLICATE, at the second', () => {
  refuses(
    options({ certificates: [pairs.p256, pairs.rsa2048, pairs.p384] }),
    'KEY_DUPLICATE',
    /already a certificate with an ECDSA key/,
    2,
  );
});

test('a certificate below the security level: CERT_WEAK', () => {
  const certificates = [pairs.rsa1024];
  assert.equal(native.checkTls(options({ certificates, securityLevel: 1 })), null);
  refuses(options({ certificates, securityLevel: 2 }), 'CERT_WEAK', /security level 2 refuses/, 0);
});

test('a security level that OpenSSL does not have: SECLEVEL', () => {
  for (const securityLevel of [-1, 6]) {
    refuses(options({ securityLevel }), 'SECLEVEL', /0 to 5/, -1);
  }
});

test('a misspelt cipher is named although others are fine: CIPHERS', () => {
  const ciphers = `${INTERMEDIATE}:ECDHE-RSA-AES129-GCM-SHA256`;
  refuses(options({ ciphers }), 'CIPHERS', /"ECDHE-RSA-AES129-GCM-SHA256"/, -1);
  refuses(options({ ciphers: `${INTERMEDIATE}:!aNUL` }), 'CIPHERS', /"!aNUL"/, -1);
  refuses(options({ ciphers: '' }), 'CIPHERS', /no TLS 1\.2 cipher/, -1);
  refuses(options({ ciphers: '!ECDHE-RSA-AES128-GCM-SHA256' }), 'CIPHERS', /no TLS 1\.2/, -1);
});

test('the security level cannot be smuggled in with the ciphers: CIPHERS', () => {
  refuses(options({ ciphers: `${INTERMEDIATE}:@SECLEVEL=0` }), 'CIPHERS', /securityLevel/, -1);
});

test('ciphers without forward secrecy, encryption or authentication are refused: CIPHERS', () => {
  const kRsa = `${INTERMEDIATE}:AES128-GCM-SHA256`;
  refuses(options({ ciphers: kRsa }), 'CIPHERS', /^AES128-GCM-SHA256 uses RSA key exchange/, -1);
  refuses(options({ ciphers: 'HIGH' }), 'CIPHERS', /RSA key exchange|authenticate/, -1);
  const open = 'ECDHE-RSA-NULL-SHA';
  refuses(options({ ciphers: open, securityLevel: 0 }), 'CIPHERS', /does not encrypt/, -1);
  refuses(options({ ciphers: 'aNULL', securityLevel: 0 }), 'CIPHERS', /does not auth|encrypt/, -1);
  assert.equal(native.checkTls(options({ ciphers: 'HIGH:!kRSA:!aNULL' })), null);
});

test('ciphers that fit no certificate are refused, unless only TLS 1.3 is spoken: CIPHERS', () => {
  const certificates = [pairs.rsa2048];
  for (const ciphers of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'DHE-RSA-AES128-GCM-SHA256']) {
    refuses(options({ certificates, ciphers }), 'CIPHERS', /add one .* ECDHE-RSA-/, -1);
    assert.equal(native.checkTls(options({ certificates, ciphers, minVersion: '1.3' })), null);
  }
});

test('a misspelt or missing cipher suite is named: CIPHERSUITES', () => {
  const ciphersuites = 'TLS_AES_128_GCM_SHA256:TLS_AES_128_GCM_SHA257';
  refuses(options({ ciphersuites }), 'CIPHERSUITES', /"TLS_AES_128_GCM_SHA257"/, -1);
  refuses(options({ ciphersuites: '' }), 'CIPHERSUITES', /empty/, -1);
});

test('a misspelt or missing group is named: GROUPS', () => {
  refuses(options({ groups: 'X25519:prime257v1' }), 'GROUPS', /"prime257v1"/, -1);
  refuses(options({ groups: '' }), 'GROUPS', /empty/, -1);
  assert.equal(native.checkTls(options({ groups: 'X25519MLKEM768/X25519:?nobody' })), null);
});

test('ALPN names have 1 to 255 bytes: ALPN', () => {
  assert.equal(native.checkTls(options({ alpn: ['h2', 'é'.repeat(127)] })), null);
  refuses(options({ alpn: [''] }), 'ALPN', /1 to 255/, -1);
  refuses(options({ alpn: ['é'.repeat(128)] }), 'ALPN', /1 to 255/, -1);
});

test('a wrong shape is a programming error, thrown and named', () => {
  const wrong: readonly [object, RegExp][] = [
    [{ fingerprint: new Uint8Array(31) }, /fingerprint/],
    [{ fingerprint: new Uint16Array(16) }, /fingerprint/],
    [{ minVersion: '1.1' }, /minVersion/],
    [{ certificates: pairs.p256 }, /certificates/],
    [{ certificates: [null] }, /certificates/],
    [{ certificates: [{ cert: 'x' }] }, /key/],
    [{ alpn: [1] }, /alpn/],
    [{ sessionMaxAgeS: '7200' }, /sessionMaxAgeS/],
    [{ sessionMaxAgeS: Number.NaN }, /sessionMaxAgeS/],
  ];
  for (const [part, message] of wrong) {
    assert.throws(() => native.checkTls({ ...options({}), ...part }), {
      name: 'TypeError',
      message,
    });
  }
  assert.throws(() => native.checkTls(undefined as never), TypeError);
});

test('a refusal never contains key material', () => {
  const body = pairs.rsa2048.key.split('\n')[2] ?? '';
  assert.ok(body.length > 40);
  for (const key of [damage(pairs.rsa2048.key), pairs.rsa2048.key]) {
    const error = check({ cert: pairs.p256.cert, key });
    assert.ok(error !== null && !JSON.stringify(error).includes(body.slice(0, 16)));
  }
});

test('after a hundred refusals a good configuration is still good', () => {
  for (let i = 0; i < 100; i++) {
    check({ cert: pairs.rsa2048.cert, key: damage(pairs.rsa2048.key) });
    assert.equal(native.checkTls(options({})), null);
  }
});

function rsa(modulusLength: number, hash: string) {
  const publicExponent = new Uint8Array([1, 0, 1]);
  return { name: 'RSASSA-PKCS1-v1_5', hash, modulusLength, publicExponent };
}

function generate(kind: KeyKind): Promise<webcrypto.CryptoKeyPair> {
  const usages = ['sign', 'verify'] as const;
  return webcrypto.subtle.generateKey(ALGORITHMS[kind], true, usages);
}

async function issue(kind: KeyKind): Promise<CertificatePair> {
  const keys = await generate(kind);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: 'CN=localhost',
    issuer: ca.certificate.subject,
    publicKey: keys.publicKey as never,
    signingKey: ca.keys.privateKey as never,
    signingAlgorithm: ALGORITHMS.p256,
  });
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    cert: certificate.toString('pem'),
    key: x509.PemConverter.encode(der, 'PRIVATE KEY'),
  };
}

function options(part: Partial<TlsOptions>): TlsOptions {
  return {
    certificates: [pairs.p256],
    minVersion: '1.2',
    ciphers: INTERMEDIATE,
    ciphersuites: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
    groups: 'X25519MLKEM768:X25519:prime256v1:secp384r1',
    securityLevel: 1,
    alpn: ['http/1.1'],
    fingerprint: new Uint8Array(32),
    sessionMaxAgeS: 7200,
    ...part,
  };
}

function check(pair: CertificatePair) {
  return native.checkTls(options({ certificates: [pair] }));
}

function accepts(pair: CertificatePair): void {
  assert.equal(check(pair), null);
}

function refuses(tls: TlsOptions, code: string, message: RegExp, index: number): void {
  const error = native.checkTls(tls);
  assert.ok(error !== null, `expected ${code}`);
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  assert.equal(error.index, index);
}

function refusesPair(pair: CertificatePair, code: string, message: RegExp): void {
  refuses(options({ certificates: [pair] }), code, message, 0);
}

/** The same PEM with its first line of base64 replaced by zeros. */
function damage(pem: string): string {
  return pem.replace(/(-----\r?\n)[^\r\n]+/, (_, start) => `${start}${'A'.repeat(64)}`);
}
