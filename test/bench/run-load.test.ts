/** A load run counts what there was: every connection once, as completed or as one kind of error. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeCertificates } from '../../cli/development-certificates.ts';
import type {
  LoadError,
  LoadOptions,
  LoadProgress,
  LoadResult,
  LoadTarget,
} from '../../bench/load.ts';
import { defaultLoadOptions } from '../../bench/load-defaults.ts';
import { distribution, runLoad } from '../../bench/run-load.ts';
import { native } from '../../native/index.ts';
import { atRest, count } from '../walk/at-rest.ts';
import { startBalancer, startTerminator } from '../walk/farm.ts';
import { testFiles } from '../walk/files.ts';
import { startOrigin } from '../walk/origin.ts';
import type { Answer } from './tls-origin.ts';
import { startTcp, startTlsOrigin } from './tls-origin.ts';

/** `connections` connections of 8 clients to one port, and what else is said. */
function load(port: number, more: Partial<LoadOptions> = {}): Promise<LoadResult> {
  return loadTargets([target(port)], more);
}

function loadTargets(
  targets: readonly LoadTarget[],
  more: Partial<LoadOptions>,
): Promise<LoadResult> {
  return runLoad({ ...options(targets), ...more });
}

function options(targets: readonly LoadTarget[]): LoadOptions {
  return { ...defaultLoadOptions(...targets), clients: 8, connections: 40, durationMs: 0 };
}

function target(port: number, more: Partial<LoadTarget> = {}): LoadTarget {
  return { host: '127.0.0.1', port, serverName: '', path: '/', ...more };
}

/** Everything went well, so many times. */
function assertAllWell(result: LoadResult, connections: number): void {
  assert.deepEqual(errorsOf(result), {});
  assert.equal(result.started, connections);
  assert.equal(result.completed, connections);
  assert.equal(result.handshakesFull + result.handshakesResumed, connections);
}

function errorsOf(result: LoadResult): Partial<Record<LoadError, number>> {
  const seen = Object.entries(result.errors).filter(([, n]) => n > 0);
  return Object.fromEntries(seen) as Partial<Record<LoadError, number>>;
}

const ok = (body: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** A good server: keeps the connection unless asked to close it. */
const polite: Answer = (tls, _tcp, head) => {
  tls.write(ok('hello'));
  if (/^connection: close$/im.test(head)) tls.end();
};

describe('against a terminator', () => {
  test('200 connections are 200 started and 200 completed, and the server sees each end cleanly', async (t) => {
    const origin = await startOrigin(t, { kind: 'page', name: 'one' });
    const terminator = await startTerminator(t, origin.address);
    const progress: LoadProgress[] = [];
    const result = await runLoad(
      { ...options([target(terminator.port)]), clients: 16, connections: 200 },
      { onProgress: (p) => progress.push(p) },
    );
    assertAllWell(result, 200);
    assert.equal(result.requests, 200);
    assert.equal(result.total.count, 200);
    assert.equal(result.firstByte.count, 200);
    assert.equal(result.handshake.count, 200);
    assert.equal(result.handshakesFull, 16);
    assert.equal(result.handshakeFull.count, 16);
    assert.equal(result.handshakeResumed.count, 184);
    assert.equal(result.offeredButFull, 0);
    assert.equal(sum(result.perSecond.map((second) => second.completed)), 200);
    assert.equal(sum(Object.values(result.negotiated)), 200);
    assert.match(Object.keys(result.negotiated)[0] ?? '', /^TLSv1\.3 TLS_\S+ \S+$/);
    assert.ok(result.generatorBusy > 0 && result.generatorCpuUsPerConnection > 0);
    const last = progress.at(-1);
    assert.deepEqual([last?.completed, last?.active], [200, 0]);
    const stats = await atRest(terminator);
    assert.equal(count(stats, 'closedClean'), 200);
    assert.equal(count(stats, 'clientReset'), 0);
    assert.equal(count(stats, 'truncatedByClient'), 0);
  });

  test('sessions resume by ID, by PSK, every 10th full, and at a ratio', async (t) => {
    const origin = await startOrigin(t, { kind: 'page', name: 'one' });
    const { port } = await startTerminator(t, origin.address);
    const byId = await load(port, { tlsVersion: '1.2', groups: 'X25519' });
    assertAllWell(byId, 40);
    assert.equal(byId.handshakesResumed, 32);
    assert.match(Object.keys(byId.negotiated).toSorted()[1] ?? '', /^TLSv1\.2 ECDHE-\S+ X25519$/);
    const byPsk = await load(port, { tlsVersion: '1.3', groups: 'P-256' });
    assertAllWell(byPsk, 40);
    assert.equal(byPsk.handshakesResumed, 32);
    assert.match(Object.keys(byPsk.negotiated)[0] ?? '', /^TLSv1\.3 \S+ P-256$/);

    for (const tlsVersion of ['1.2', '1.3'] as const) {
      const tenth = await load(port, {
        ...{ tlsVersion, clients: 1, connections: 100 },
        resume: { kind: 'always', fullEvery: 10 },
      });
      assertAllWell(tenth, 100);
      assert.equal(tenth.handshakesFull, 10);
      assert.equal(tenth.offeredButFull, 0);
    }
    const half = await load(port, {
      ...{ clients: 4, connections: 400, tlsVersion: '1.2' },
      resume: { kind: 'ratio', ratio: 0.5 },
    });
    assertAllWell(half, 400);
    assert.ok(half.handshakesResumed > 150 && half.handshakesResumed < 250);
    const never = await load(port, { resume: { kind: 'never' } });
    assertAllWell(never, 40);
    assert.equal(never.handshakesResumed, 0);
    // It gives no tickets; a session that only its ID resumes must not pass for one resumed by ticket.
    const byTicket = await load(port, { tlsVersion: '1.2', mechanism: 'ticket' });
    assertAllWell(byTicket, 40);
    assert.equal(byTicket.handshakesResumed, 0);
  });

  test('handshakes alone resume too: TLS 1.3 waits for its ticket', async (t) => {
    const origin = await startOrigin(t, { kind: 'echo' });
    const terminator = await startTerminator(t, origin.address);
    for (const tlsVersion of ['1.2', '1.3'] as const) {
      const result = await load(terminator.port, { tlsVersion, requestsPerConnection: 0 });
      assertAllWell(result, 40);
      assert.equal(result.handshakesResumed, 32);
      assert.equal(result.requests, 0);
    }
    const stats = await atRest(terminator);
    assert.equal(count(stats, 'clientReset'), 0);
  });

  test('a client carries its session from target to target', async (t) => {
    const origin = await startOrigin(t, { kind: 'page', name: 'one' });
    const terminator = await startTerminator(t, origin.address);
    const balancer = await startBalancer(t, [terminator.address]);
    const result = await loadTargets([target(terminator.port), target(balancer.port)], {
      clients: 1,
      connections: 10,
    });
    assertAllWell(result, 10);
    assert.equal(result.handshakesResumed, 9);
    assert.deepEqual(
      result.perTarget.map(({ started, completed, resumed }) => [started, completed, resumed]),
      [
        [5, 5, 4],
        [5, 5, 5],
      ],
    );
  });

  test('a megabyte comes back whole, and one goes up', async (t) => {
    const body = 1_000_000;
    const down = await startOrigin(t, {
      kind: 'custom',
      serve: (socket) =>
        socket.once('data', () => {
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body}\r\n\r\n`);
          socket.end(Buffer.alloc(body));
        }),
    });
    const downloads = await load((await startTerminator(t, down.address)).port);
    assertAllWell(downloads, 40);
    assert.ok(downloads.bytesIn > 40 * body && downloads.bytesIn < 40 * (body + 100));

    const up = await startOrigin(t, {
      kind: 'custom',
      serve: (socket) => {
        let bytes = 0;
        let head = '';
        socket.on('data', (chunk) => {
          bytes += chunk.length;
          head = head.includes('\r\n\r\n') ? head : head + chunk.toString('latin1');
          const headBytes = head.indexOf('\r\n\r\n') + 4;
          if (headBytes > 3 && bytes === headBytes + body) socket.end(ok(`${bytes - headBytes}`));
        });
      },
    });
    const uploads = await load((await startTerminator(t, up.address)).port, { uploadBytes: body });
    assertAllWell(uploads, 40);
    assert.ok(uploads.bytesOut > 40 * body && uploads.bytesOut < 40 * (body + 300));
  });
});

describe('against node:tls', () => {
  test('TLS 1.2 sessions resume by ticket', async (t) => {
    const port = await startTlsOrigin(t, polite, { maxVersion: 'TLSv1.2' });
    const result = await load(port, { mechanism: 'ticket' });
    assertAllWell(result, 40);
    assert.equal(result.handshakesResumed, 32);
    // With the ID as the mechanism no ticket is asked for, and node:tls keeps no sessions by ID.
    const byId = await load(port, { mechanism: 'id' });
    assertAllWell(byId, 40);
    assert.equal(byId.handshakesResumed, 0);
  });

  test('a server that has lost its sessions is seen: offered but full', async (t) => {
    const keys = [Buffer.alloc(48, 1), Buffer.alloc(48, 2)];
    const first = await startTlsOrigin(t, polite, { ticketKeys: keys[0] as Buffer });
    const second = await startTlsOrigin(t, polite, { ticketKeys: keys[1] as Buffer });
    const targets = [target(first), target(second)];
    const result = await loadTargets(targets, { clients: 1, connections: 10 });
    assertAllWell(result, 10);
    assert.deepEqual([result.handshakesFull, result.offeredButFull], [10, 9]);
  });

  test('several requests go over one connection, and its length is read in every way', async (t) => {
    const kept = await startTlsOrigin(t, polite);
    const result = await load(kept, { requestsPerConnection: 5, connections: 20 });
    assertAllWell(result, 20);
    assert.equal(result.requests, 100);
    assert.equal(result.firstByte.count, 100);

    const chunked = await startTlsOrigin(t, (tls) => {
      tls.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhel');
      setTimeout(() => tls.write('lo\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n'), 5);
    });
    assert.equal((await load(chunked, { requestsPerConnection: 3 })).requests, 120);

    const untilClose = await startTlsOrigin(t, (tls) => {
      tls.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall of ');
      setTimeout(() => tls.end('this'), 5);
    });
    assertAllWell(await load(untilClose), 40);

    // Split at every byte.
    const dripping = await startTlsOrigin(t, (tls) => {
      for (const byte of ok('drip')) tls.write(byte);
    });
    assertAllWell(await load(dripping, { connections: 8 }), 8);
  });

  test('the certificate is verified by name and by address when there is a CA', async (t) => {
    const { ca } = await testFiles();
    const port = await startTlsOrigin(t, polite);
    assertAllWell(await load(port, { ca }), 40);
    const named = [target(port, { serverName: 'localhost' })];
    assertAllWell(await loadTargets(named, { ca }), 40);
    const misnamed = await loadTargets([target(port, { serverName: 'example.org' })], { ca });
    assert.deepEqual(errorsOf(misnamed), { handshakeVerify: 40 });
    const { 'ca.crt': stranger = '' } = await makeCertificates([], 1, new Date());
    assert.deepEqual(errorsOf(await load(port, { ca: stranger })), { handshakeVerify: 40 });
  });

  test('the run ends with its duration, and early when it is told to', async (t) => {
    const port = await startTlsOrigin(t, polite);
    const timed = await load(port, { connections: 0, durationMs: 400 });
    assertAllWell(timed, timed.started);
    assert.ok(timed.elapsedMs >= 400 && timed.elapsedMs < 1_500, `${timed.elapsedMs} ms`);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 200);
    const stopped = await runLoad(
      { ...options([target(port)]), connections: 0 },
      { signal: abort.signal },
    );
    assertAllWell(stopped, stopped.started);
    assert.ok(stopped.elapsedMs < 1_500, `${stopped.elapsedMs} ms`);
    const already = await runLoad(options([target(port)]), { signal: AbortSignal.abort() });
    assert.ok(already.started === already.completed && already.started <= 8);
  });

  test('clients of a closed loop come one by one during the ramp', async (t) => {
    const startMs = performance.now();
    const cameMs: number[] = [];
    const port = await startTlsOrigin(t, (tls) => {
      cameMs.push(performance.now() - startMs);
      setTimeout(() => tls.end(ok('')), 600);
    });
    const result = await load(port, { clients: 10, connections: 10, rampMs: 500 });
    assertAllWell(result, 10);
    // Late they may be, on a busy machine; never early.
    for (const [i, ms] of cameMs.entries()) assert.ok(ms >= i * 50, `client ${i} came at ${ms} ms`);
  });

  test('what OpenSSL refuses is an error that says so', async () => {
    await assert.rejects(load(1, { groups: 'nonsense' }), /groups "nonsense"/);
    await assert.rejects(load(1, { ciphers: 'nonsense' }), /"nonsense"/);
    await assert.rejects(load(1, { ca: 'nonsense' }), /CA certificates/);
    await assert.rejects(loadTargets([target(1, { host: 'localhost' })], {}), /no literal IP/);
    await assert.rejects(loadTargets([target(1, { path: '/ x' })], {}), /path/);
    await assert.rejects(loadTargets([target(Number.NaN)], {}), /port/);
  });
});

describe('in the open loop', () => {
  test('connections start at the rate, and at a growing one during the ramp', async (t) => {
    const port = await startTlsOrigin(t, polite);
    const machine = monitorEventLoopDelay({ resolution: 2 });
    machine.enable();
    const result = await load(port, { connections: 0, ratePerS: 100, durationMs: 2_000 });
    machine.disable();
    assertAllWell(result, 200);
    // What the machine itself was late by is not the generator's.
    const stallMs = machine.max / 1e6;
    const lateMs = result.elapsedMs - 2_000;
    assert.ok(lateMs >= 0 && lateMs <= 100 + stallMs, `${lateMs} ms late, stall ${stallMs} ms`);
    const first = result.perSecond[0]?.started ?? 0;
    assert.ok(Math.abs(first - 100) <= 5 + stallMs / 10, `${first} in the first second`);
    // Linear from 0 to 100 per second over 1 s: 50.
    const ramped = await load(port, {
      ...{ connections: 0, ratePerS: 100, durationMs: 1_000, rampMs: 1_000 },
    });
    assertAllWell(ramped, 50);
  });

  test('a server that stalls is charged for the clients that had to wait', async (t) => {
    const stallMs = 500;
    let stalledUntilMs = 0;
    setTimeout(() => (stalledUntilMs = performance.now() + stallMs), 500).unref();
    const port = await startTlsOrigin(t, (tls) => {
      const waitMs = Math.max(0, stalledUntilMs - performance.now());
      setTimeout(() => tls.end(ok('')), waitMs);
    });
    // One client at a time would have met the stall once, in a hundred and more connections.
    const result = await load(port, {
      ...{ clients: 1, connections: 0, ratePerS: 100, durationMs: 2_000 },
    });
    assertAllWell(result, 200);
    assert.ok(result.total.p99Us > (stallMs * 1_000 * 4) / 5, `p99 ${result.total.p99Us} µs`);
    const charged = result.total.buckets
      .filter(([upperUs]) => upperUs > 100_000)
      .reduce((all, [, n]) => all + n, 0);
    assert.ok(charged >= 35, `${charged} waited`);
  });
});

describe('every way to fail is counted by its kind', () => {
  /** Runs until all have failed: exactly so, and nothing else. */
  async function assertFails(
    port: number,
    kind: LoadError,
    more: Partial<LoadOptions> = {},
  ): Promise<LoadResult> {
    const result = await load(port, { connections: 12, ...more });
    assert.deepEqual(errorsOf(result), { [kind]: 12 });
    assert.deepEqual([result.started, result.completed], [12, 0]);
    assert.equal(sum(result.perSecond.map((second) => second.errors)), 12);
    return result;
  }

  test('while connecting', async (t) => {
    const closed = native.openListener({ host: '127.0.0.1', port: 0 }, 1);
    native.closeFd(closed.fd);
    await assertFails(closed.port, 'connectRefused');

    // Nobody accepts: the queue takes two, further SYNs are dropped.
    const deaf = native.openListener({ host: '127.0.0.1', port: 0 }, 1);
    t.after(() => native.closeFd(deaf.fd));
    const queued = [1, 2].map(() => connect(deaf.port, '127.0.0.1'));
    t.after(() => queued.forEach((socket) => socket.destroy()));
    await Promise.all(queued.map((socket) => new Promise((done) => socket.once('connect', done))));
    await assertFails(deaf.port, 'connectTimeout', { connectTimeoutMs: 200 });

    const unreachable = [target(1, { host: '255.255.255.255' })];
    const result = await loadTargets(unreachable, { connections: 12 });
    assert.deepEqual(errorsOf(result), { connectOther: 12 });
  });

  test('for want of descriptors, and of room in the open loop', async (t) => {
    const silent = await startTcp(t, () => {});
    const closed = await loadWithFewFiles(silent, { clients: 200, connections: 300 });
    const open = await loadWithFewFiles(silent, { ratePerS: 2_000, connections: 300 });
    for (const result of [closed, open]) {
      assert.equal(result.started, 300);
      assert.deepEqual(Object.keys(errorsOf(result)), ['localExhausted', 'handshakeTimeout']);
      assert.ok(result.errors.localExhausted > 100);
      assert.equal(sum(Object.values(result.errors)), 300);
      assert.equal(sum(result.perTarget.map((each) => each.started)), 300);
    }
  });

  test('in the handshake', async (t) => {
    const only13 = await startTlsOrigin(t, polite, { minVersion: 'TLSv1.3' });
    await assertFails(only13, 'handshakeAlert', { tlsVersion: '1.2' });
    const wantsCertificate = await startTlsOrigin(t, polite, {
      ...{ requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' },
    });
    const refused = await load(wantsCertificate, { connections: 12 });
    // node:tls resets after the handshake instead of sending an alert.
    assert.equal(refused.completed, 0);
    assert.equal(sum(Object.values(refused.errors)), 12);

    const closing = await startTcp(t, (socket) => socket.once('data', () => socket.end()));
    await assertFails(closing, 'handshakeReset');
    const resetting = await startTcp(t, (socket) => {
      socket.once('data', () => socket.resetAndDestroy());
    });
    await assertFails(resetting, 'handshakeReset');
    const silent = await startTcp(t, (socket) => socket.resume());
    await assertFails(silent, 'handshakeTimeout', { handshakeTimeoutMs: 200 });
    const http = await startTcp(t, (socket) => socket.end('HTTP/1.0 400 Bad Request\r\n\r\n'));
    await assertFails(http, 'handshakeOther');
  });

  test('in the response', async (t) => {
    const part = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart';
    const misbehaviours: readonly [LoadError, Answer, Partial<LoadOptions>?][] = [
      ['responseReset', (_tls, tcp) => tcp.resetAndDestroy()],
      ['responseReset', (tls, tcp) => tls.write(part, () => tcp.resetAndDestroy())],
      ['responseTruncated', (tls) => tls.end()],
      ['responseTruncated', (tls) => tls.end(part)],
      // No length, and no close_notify: nobody can say that it was all.
      ['responseTruncated', (tls, tcp) => tls.write('HTTP/1.1 200 OK\r\n\r\nx', () => tcp.end())],
      ['responseTruncated', (tls) => tls.end(ok('only one')), { requestsPerConnection: 2 }],
      ['responseTimeout', () => {}, { responseTimeoutMs: 200 }],
      ['responseTimeout', (tls) => tls.write(part), { responseTimeoutMs: 200 }],
      ['responseStatus', (tls) => tls.end('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n')],
      ['responseStatus', (tls) => tls.end('HTTP/1.1 302 Found\r\n\r\nelsewhere')],
      ['responseGarbage', (tls) => tls.write('220 smtp.example.org ESMTP\r\n')],
      ['responseGarbage', (tls) => tls.write(`${ok('one')}more`)],
      ['responseGarbage', (tls) => tls.write('HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n')],
      ['unfinished', (tls) => tls.write(part), { graceMs: 150 }],
    ];
    for (const [kind, answer, more] of misbehaviours) {
      await assertFails(await startTlsOrigin(t, answer), kind, { clients: 12, ...more });
    }
  });
});

/** In a process that may have 100 descriptors. */
async function loadWithFewFiles(port: number, more: Partial<LoadOptions>): Promise<LoadResult> {
  const child = fileURLToPath(new URL('few-files-child.ts', import.meta.url));
  const command = [process.execPath, child, String(port), JSON.stringify(more)];
  const { stdout } = await promisify(execFile)('prlimit', ['--nofile=100:100', ...command]);
  return JSON.parse(stdout) as LoadResult;
}

test('percentiles are those of the nearest rank, to the width of a bucket', () => {
  const none = { count: 0, minUs: 0, maxUs: 0, sumUs: 0, buckets: new Float64Array() };
  assert.equal(distribution(none).p99Us, 0);
  const of100 = {
    ...{ count: 100, minUs: 10, maxUs: 5_000, sumUs: 99 * 10 + 5_000 },
    buckets: new Float64Array([10, 99, 5_023, 1]),
  };
  const { p50Us, p99Us, p999Us, meanUs } = distribution(of100);
  assert.deepEqual([p50Us, p99Us, p999Us, meanUs], [10, 10, 5_000, 59.9]);
});

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
