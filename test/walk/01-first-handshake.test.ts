import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { page } from '../../cli/demo-origin.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { curl, sClient } from './other-clients.ts';
import { call, sessionOf } from './tls-client.ts';

const { folder } = await testFiles();
const caFile = join(folder, 'ca.crt');
const request = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

interface Farm {
  readonly balancer: FarmMember;
  readonly terminator: FarmMember;
}

async function startFarm(t: Cleanup): Promise<Farm> {
  const origin = await startOrigin(t, { kind: 'page', name: 'one' });
  const terminator = await startTerminator(t, origin.address);
  const balancer = await startBalancer(t, [terminator.address]);
  return { balancer, terminator };
}

/** What a counter grew by while `work` ran. */
async function growth(
  member: FarmMember,
  names: readonly string[],
  work: () => Promise<unknown>,
): Promise<number[]> {
  const old = (await member.stats()).counters;
  await work();
  const { counters } = await member.stats();
  return names.map((name) => (counters[name] ?? Number.NaN) - (old[name] ?? Number.NaN));
}

suite('a first handshake through the balancer', async () => {
  const cleanups: (() => unknown)[] = [];
  const shared: Cleanup = { after: (fn) => cleanups.unshift(fn) };
  const started = startFarm(shared);
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
  });

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const only = { minVersion: version, maxVersion: version };
    const counter = version === 'TLSv1.2' ? 'handshakeFull12' : 'handshakeFull13';

    test(`${version} gets the page, and is counted as a full handshake`, async () => {
      const { balancer, terminator } = await started;
      const [full] = await growth(terminator, [counter], async () => {
        const heard = await call(balancer, only);
        assert.equal(heard.error, null);
        assert.equal(heard.protocol, version);
        assert.equal(heard.resumed, false);
        assert.equal(heard.body, page('one'));
      });
      assert.equal(full, 1);
    });

    test(`${version} gets the certificate whose signatures it can verify`, async () => {
      const { balancer } = await started;
      const rsa = await call(balancer, { ...only, sigalgs: 'rsa_pss_rsae_sha256' });
      const ec = await call(balancer, { ...only, sigalgs: 'ecdsa_secp256r1_sha256' });
      assert.deepEqual([rsa.error, rsa.certificate], [null, 'rsa']);
      assert.deepEqual([ec.error, ec.certificate], [null, 'ec']);
    });

    for (const group of ['X25519MLKEM768', 'X25519', 'P-256']) {
      // In TLS 1.2 there is no post-quantum hybrid.
      if (version === 'TLSv1.2' && group === 'X25519MLKEM768') continue;
      test(`${version} agrees on ${group} with a client that has nothing else`, async () => {
        const { balancer } = await started;
        const heard = await call(balancer, { ...only, ecdhCurve: group });
        assert.deepEqual([heard.error, heard.body], [null, page('one')]);
      });
    }

    test(`${version} speaks http/1.1 by ALPN, and without ALPN`, async () => {
      const { balancer } = await started;
      const both = await call(balancer, { ...only, ALPNProtocols: ['h2', 'http/1.1'] });
      const none = await call(balancer, only);
      assert.deepEqual([both.error, both.alpn], [null, 'http/1.1']);
      assert.deepEqual([none.error, none.alpn], [null, false]);
    });

    test(`${version} refuses a client that speaks h2 only, by no_application_protocol`, async () => {
      const { balancer, terminator } = await started;
      const [failed] = await growth(terminator, ['failedAlpn'], async () => {
        const heard = await call(balancer, { ...only, ALPNProtocols: ['h2'] });
        assert.equal(heard.error, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
      });
      assert.equal(failed, 1);
    });

    test(`${version} gets a close_notify after the page, so that it knows it is whole`, async () => {
      const { balancer } = await started;
      const flag = version === 'TLSv1.2' ? '-tls1_2' : '-tls1_3';
      const said = await sClient(
        balancer.address,
        [flag, '-CAfile', caFile, '-msg', '-servername', 'localhost'],
        request,
      );
      assert.match(said.text, /Your TLS ended at terminator one\./);
      assert.match(said.text, /<<< TLS 1\.[23], Alert \[length 0002\], warning close_notify/);
      assert.equal(said.status, 0, said.text);
    });

    test(`${version} serves curl`, async () => {
      const { balancer } = await started;
      const version12 = version === 'TLSv1.2' ? ['--tls-max', '1.2'] : ['--tlsv1.3'];
      const url = `https://localhost:${balancer.port}/`;
      const resolve = ['--resolve', `localhost:${balancer.port}:127.0.0.1`];
      const said = await curl([...version12, ...resolve, '--cacert', caFile, url]);
      assert.deepEqual(said, { status: 0, text: page('one') });
    });
  }

  test('a client whose first key share is of no use is asked for another one', async () => {
    const { balancer } = await started;
    // node sends a key share for the first group only: the answer is a HelloRetryRequest.
    const heard = await call(balancer, { minVersion: 'TLSv1.3', ecdhCurve: 'P-384:X25519' });
    assert.deepEqual([heard.error, heard.body], [null, page('one')]);
  });

  test('a client without any of our groups is refused, and counted', async () => {
    const { balancer, terminator } = await started;
    const [failed] = await growth(terminator, ['failedGroup'], async () => {
      const heard = await call(balancer, { minVersion: 'TLSv1.3', ecdhCurve: 'P-384' });
      assert.match(heard.error ?? '', /ALERT_HANDSHAKE_FAILURE/);
    });
    assert.equal(failed, 1);
  });

  test('TLS 1.1 is refused by protocol_version, and counted', async () => {
    const { balancer, terminator } = await started;
    const [failed] = await growth(terminator, ['failedVersion'], async () => {
      const heard = await call(balancer, {
        minVersion: 'TLSv1.1',
        maxVersion: 'TLSv1.1',
        ciphers: 'DEFAULT@SECLEVEL=0',
      });
      assert.equal(heard.error, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
      const said = await sClient(
        balancer.address,
        ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0', '-servername', 'localhost'],
        '',
      );
      assert.match(said.text, /tlsv1 alert protocol version/);
      assert.notEqual(said.status, 0);
    });
    assert.equal(failed, 2);
  });

  test('renegotiation is refused', async () => {
    const { balancer } = await started;
    const said = await sClient(
      balancer.address,
      ['-tls1_2', '-CAfile', caFile, '-servername', 'localhost'],
      '',
      [{ seen: /Verify return code/, send: 'R\n' }],
    );
    assert.match(said.text, /RENEGOTIATING/);
    assert.match(said.text, /no renegotiation/);
    assert.notEqual(said.status, 0);
  });
});

test('the farm listens on IPv6', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'six' });
  const terminator = await startTerminator(t, origin.address, ['--listen', '[::1]:0']);
  const balancer = await startBalancer(t, [terminator.address], ['--listen', '[::1]:0']);
  assert.match(balancer.address, /^\[::1\]:\d+$/);

  const first = await call(balancer);
  assert.deepEqual([first.error, first.body], [null, page('six')]);
  const second = await call(balancer, { session: sessionOf(first) });
  assert.deepEqual([second.error, second.resumed], [null, true]);
  assert.equal((await balancer.stats()).counters['affinityPsk'], 1);
});

test('the farm listens and connects on unix sockets, from client to origin', async (t) => {
  const path = (name: string): string => join(folder, name);
  const origin = createServer((_, response) => response.end(page('unix')));
  t.after(() => origin.close());
  await new Promise<void>((resolve) => origin.listen(path('origin.sock'), resolve));
  const inside = `unix:${path('terminator.sock')}`;
  const outside = `unix:${path('balancer.sock')}`;
  await startTerminator(t, `unix:${path('origin.sock')}`, ['--listen', inside]);
  const balancer = await startBalancer(t, [inside], ['--listen', outside]);

  const first = await call({ path: path('balancer.sock') });
  assert.deepEqual([first.error, first.body], [null, page('unix')]);
  const second = await call({ path: path('balancer.sock') }, { session: sessionOf(first) });
  assert.deepEqual([second.error, second.resumed], [null, true]);
  assert.equal((await balancer.stats()).counters['affinityPsk'], 1);
});
