/** The key provider, the offload engine and the fibers; see native/test/offload_selftest.cc. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { before, describe, test } from 'node:test';

interface Handshakes {
  readonly version?: '1.2' | '1.3';
  readonly sigalgs?: string;
  readonly device?: 'test' | 'inline' | 'failing' | 'refusing';
  readonly connections?: number;
  readonly polls?: number;
  readonly depth?: number;
  readonly cancellable?: boolean;
  readonly corrupt?: number;
  readonly fibers?: number;
  readonly clientCertificate?: boolean;
}

type Facts = Record<string, number | boolean | string>;

interface SelfTest {
  install(): boolean;
  runOneJob(): number;
  poolRules(): Facts;
  overflow(): number;
  keyFacts(type: string): Facts;
  refusedKeys(): Facts;
  handshakes(options: Handshakes): Facts;
  cancels(options: Handshakes, rounds: number): Facts;
  cancelQueued(): Facts;
  earlyResume(): Facts;
  closeInFlight(): Facts;
  signatureCost(rounds: number): Facts;
}

const addonPath = process.env['TLSFARM_ADDON'] ?? 'build/Release/tlsfarm.node';
const path = resolve(import.meta.dirname, '../..', dirname(addonPath), 'tlsfarm_selftest.node');
const sanitized = process.env['TLSFARM_ADDON'] !== undefined;
const selftest = createRequire(import.meta.url)(path) as SelfTest;

before(() => {
  assert.equal(selftest.install(), true, 'our stacks are in place before the first job');
  assert.equal(selftest.install(), true, 'and installing them again changes nothing');
});

for (const type of ['rsa2048', 'rsa2047', 'rsa2049', 'rsa3072', 'P-256', 'P-384', 'P-521']) {
  describe(type, () => {
    const isRsa = type.startsWith('rsa');
    let facts: Facts;

    before(() => {
      facts = selftest.keyFacts(type);
    });

    test(`a key held by reference never gives its private part away`, () => {
      contains(facts, {
        made: true,
        exportsPrivate: false,
        todataPrivate: false,
        i2dPrivate: false,
        pemPrivate: false,
        privateNumbers: false,
        signsInOtherProvider: false,
        decryptsInOtherProvider: false,
        signsInNodesProvider: false,
      });
    });

    test(`the public part works everywhere`, () => {
      const groups: Record<string, string> = {
        'P-256': 'prime256v1',
        'P-384': 'secp384r1',
        'P-521': 'secp521r1',
      };
      contains(facts, {
        exportsPublic: true,
        publicIsEqual: true,
        i2dPublic: true,
        matchesCertificate: true,
        matchesOther: false,
        equalsSoftware: true,
        sameSizes: true,
        defaultDigest: 'SHA256',
        group: groups[type] ?? '',
      });
    });

    test(`neither initialising nor asking for the size touches the device`, () => {
      contains(facts, {
        initOk: true,
        sizeOk: true,
        operationsAfterSize: 0,
        signOk: true,
        operationsAfterSign: 1,
        shortBufferRefused: true,
        operationsAfterShort: 1,
      });
    });

    test(`OpenSSL's own verifier accepts every signature`, () => {
      contains(facts, {
        signaturesTried: isRsa ? 20 : 10,
        wrongSignatures: 0,
        staleErrors: 0,
        signsMd5: false,
        offloadedKeyWithoutEngine: true,
      });
    });

    test(`Node's own crypto sees nothing of it, and verification stays OpenSSL's`, () => {
      contains(facts, { visibleToNode: false, unqualifiedFetch: 'default' });
    });
  });
}

test('a key too small for its encoding is refused, not signed with', () => {
  // RFC 8017 §9.1.1 step 3: SHA-512 with a 64-byte salt needs 130 bytes; streamed and at once.
  contains(selftest.keyFacts('rsa1024'), { signaturesTried: 20, wrongSignatures: 2 });
});

test('keys of other types are refused', () => {
  contains(selftest.refusedKeys(), { ed25519: false });
});

const SIGNATURES = [
  ['1.2', 'RSA+SHA256', 'rsaEncryption'],
  ['1.2', 'rsa_pss_rsae_sha384', 'RSASSA-PSS'],
  ['1.2', 'ECDSA+SHA256', 'id-ecPublicKey'],
  ['1.3', 'rsa_pss_rsae_sha256', 'RSASSA-PSS'],
  ['1.3', 'ECDSA+SHA256', 'id-ecPublicKey'],
] as const;

for (const [version, sigalgs, signature] of SIGNATURES) {
  test(`TLS ${version}, ${sigalgs}: 64 handshakes at once, each paused once`, () => {
    const facts = selftest.handshakes({ version, sigalgs });
    contains(facts, {
      ...allDone(64),
      signature,
      alpn: 'http/1.1',
      submitted: 64,
      completed: 64,
      pauses: 64,
      mostInFlight: 64,
      inlined: 0,
      emptyPolls: 0,
    });
    assert.ok(Number(facts['outOfOrder']) > 0, 'the device answers out of order');
  });
}

test('inline: no fiber ever pauses', () => {
  contains(selftest.handshakes({ device: 'inline' }), {
    ...allDone(64),
    inlined: 64,
    pauses: 0,
    polls: 0,
    submitted: 0,
    stacksInUse: 1,
  });
});

test('ring full: the rest waits in our FIFO and nobody spins', () => {
  const facts = selftest.handshakes({ depth: 4 });
  contains(facts, { ...allDone(64), queued: 60, pauses: 64, submitted: 64, completed: 64 });
  assert.ok(Number(facts['retries']) > 0);
  assert.ok(Number(facts['polls']) < 4 * 64, `${facts['polls']} polls`);
});

test('a ring of one still serves everybody', () => {
  contains(selftest.handshakes({ depth: 1, polls: 1 }), { ...allDone(64), completed: 64 });
});

test('a wrong RSA result never leaves: it is counted and computed again in software', () => {
  contains(selftest.handshakes({ sigalgs: 'rsa_pss_rsae_sha256', corrupt: 5 }), {
    ...allDone(64),
    verifyFailed: 5,
  });
  contains(selftest.handshakes({ version: '1.2', sigalgs: 'RSA+SHA256', corrupt: 64 }), {
    ...allDone(64),
    verifyFailed: 64,
  });
});

test('a device that fails or refuses everything costs time, not connections', () => {
  for (const sigalgs of ['rsa_pss_rsae_sha256', 'ECDSA+SHA256']) {
    contains(selftest.handshakes({ device: 'failing', sigalgs }), { ...allDone(64), failed: 64 });
    contains(selftest.handshakes({ device: 'refusing', sigalgs }), { ...allDone(64), inlined: 64 });
  }
});

test('RSA client certificates are verified although our provider only signs', () => {
  for (const version of ['1.2', '1.3'] as const) {
    contains(selftest.handshakes({ version, clientCertificate: true }), allDone(64));
  }
});

test('more handshakes than fibers: the surplus waits and is served', () => {
  const facts = selftest.handshakes({ fibers: 8, connections: 40 });
  contains(facts, { ...allDone(40), mostInFlight: 8, stacksInUse: 8 });
  assert.ok(Number(facts['poolExhausted']) > 0);
});

for (const version of ['1.2', '1.3'] as const) {
  test(`TLS ${version}: 1,000 clients gone while paused leave a pool of 8 intact`, () => {
    contains(selftest.cancels({ version, fibers: 8 }, 125), {
      problem: '',
      paused: 1000,
      cancelledByCall: 1000,
      cancelled: 1000,
      failedCleanly: 1000,
      zombies: 0,
      ended: true,
      doneAfterwards: 8,
      stacksInUse: 8,
      inFlightAtEnd: 0,
      staleErrors: 0,
    });
  });
}

test('what a device cannot cancel comes back later and fails then', () => {
  const facts = selftest.cancels({ fibers: 8, cancellable: false }, 125);
  contains(facts, {
    problem: '',
    paused: 1000,
    failedCleanly: 1000,
    cancelled: 1000,
    doneAfterwards: 8,
    stacksInUse: 8,
    inFlightAtEnd: 0,
  });
  assert.ok(Number(facts['zombies']) > 500);
  assert.equal(Number(facts['zombies']) + Number(facts['cancelledByCall']), 1000);
});

test('what waits in our FIFO can always be cancelled', () => {
  assert.deepEqual(selftest.cancelQueued(), {
    inFlight: 6,
    firstRefused: true,
    cancelledQueued: 3,
    failedCleanly: 3,
    inFlightAfter: 3,
    cancelledOneFailed: true,
    othersDone: true,
    inFlightAtEnd: 0,
  });
});

test('resuming too early pauses again and submits nothing', () => {
  assert.deepEqual(selftest.earlyResume(), {
    paused: true,
    stillPaused: true,
    submitted: 1,
    done: true,
  });
});

test('an engine closed with cancelled operations in its device lets go of them', () => {
  assert.deepEqual(selftest.closeInFlight(), { inFlight: 5, inFlightAfterCancel: 2 });
});

test('the pool keeps its first limit', () => {
  assert.deepEqual(selftest.poolRules(), {
    first: true,
    same: true,
    smaller: true,
    larger: false,
    oneStack: 1,
    noStack: 0,
  });
});

test('handshakes use less than half of a fiber stack', (t) => {
  if (sanitized) return t.skip('sanitizers enlarge every stack frame');
  const facts = selftest.handshakes({ version: '1.3', sigalgs: 'rsa_pss_rsae_sha256' });
  t.diagnostic(`deepest use: ${facts['stackHighWater']} bytes`);
  assert.ok(Number(facts['stackHighWater']) < 16_384);
});

test('a fiber that overflows its stack dies at the guard page', (t) => {
  if (sanitized) return t.skip('the sanitizer reports the overflow itself');
  assert.equal(selftest.overflow(), 11, 'SIGSEGV');
});

test('once a job ran on foreign stacks, installing ours is refused', () => {
  const script = `
    const selftest = require(process.argv[1]);
    if (selftest.runOneJob() !== 1) process.exit(2);
    process.exit(selftest.install() ? 1 : 0);`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', script, path]);
  assert.equal(status, 0, stderr.toString());
});

function allDone(connections: number): Facts {
  return {
    problem: '',
    ended: true,
    done: connections,
    talked: connections,
    staleErrors: 0,
    inFlightAtEnd: 0,
  };
}

function contains(facts: Facts, expected: Facts): void {
  const seen = Object.fromEntries(Object.keys(expected).map((key) => [key, facts[key]]));
  assert.deepEqual(seen, expected);
}
