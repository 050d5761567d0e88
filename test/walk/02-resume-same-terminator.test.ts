import assert from 'node:assert/strict';
import { constants } from 'node:crypto';
import { copyFileSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { createServer } from 'node:tls';
import { terminatorOn } from '../../cli/demo-origin.ts';
import type { FarmMember } from './farm.ts';
import { run, start, startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup } from './origin.ts';
import { startOrigin } from './origin.ts';
import { sClient } from './other-clients.ts';
import type { Heard, To } from './tls-client.ts';
import { call, sessionOf, tampered } from './tls-client.ts';

const { folder, certFlags } = await testFiles();
const caFile = join(folder, 'ca.crt');
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
/** So many that both terminators serve: by chance they do not once in 2^23. */
const CLIENTS = 24;

/** Two terminators, each in front of an origin whose page names it. */
async function startTerminators(t: Cleanup, flags: readonly string[] = []): Promise<FarmMember[]> {
  return Promise.all(
    ['one', 'two'].map(async (name) => {
      const origin = await startOrigin(t, { kind: 'page', name });
      return startTerminator(t, origin.address, flags);
    }),
  );
}

interface Visitor {
  readonly version: (typeof VERSIONS)[number];
  readonly heard: Heard;
  readonly served: string;
}

/** One full handshake from each of several addresses, in each version. */
async function firstVisits(to: To): Promise<Visitor[]> {
  const visitors: Visitor[] = [];
  for (let client = 2; client < 2 + CLIENTS; client++) {
    for (const version of VERSIONS) {
      const heard = await visit(to, version, `127.0.0.${client}`);
      assert.equal(heard.resumed, false);
      visitors.push({ version, heard, served: terminatorOn(heard.body) ?? '' });
    }
  }
  const served = new Set(visitors.map((visitor) => visitor.served));
  assert.deepEqual([...served].sort(), ['one', 'two'], 'both terminators have clients');
  return visitors;
}

/** Every visitor comes back, from another address: nothing but the session can tell where to. */
async function returnVisits(to: To, visitors: readonly Visitor[]): Promise<Visitor[]> {
  const returned: Visitor[] = [];
  for (const [index, { version, heard, served }] of visitors.entries()) {
    const again = await visit(to, version, `127.0.1.${1 + index}`, sessionOf(heard));
    assert.deepEqual([again.resumed, terminatorOn(again.body)], [true, served], `visitor ${index}`);
    // TLS 1.2 keeps its session, TLS 1.3 gets a new one every time.
    returned.push({ version, heard: again.session === null ? heard : again, served });
  }
  return returned;
}

async function visit(
  to: To,
  version: (typeof VERSIONS)[number],
  localAddress: string,
  session?: Buffer,
): Promise<Heard> {
  const heard = await call(to, {
    minVersion: version,
    maxVersion: version,
    localAddress,
    ...(session === undefined ? {} : { session }),
  });
  assert.deepEqual([heard.error, heard.protocol], [null, version]);
  return heard;
}

async function sum(members: readonly FarmMember[], name: string): Promise<number> {
  const all = await Promise.all(members.map((member) => member.stats()));
  return all.reduce((total, { counters }) => total + (counters[name] ?? Number.NaN), 0);
}

suite('a client comes back to the terminator that knows its session', async () => {
  const cleanups: (() => unknown)[] = [];
  const shared: Cleanup = { after: (fn) => cleanups.unshift(fn) };
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
  });
  const terminators = startTerminators(shared);
  const balancer = terminators.then((all) =>
    startBalancer(
      shared,
      all.map(({ address }) => address),
    ),
  );
  let visitors: Visitor[] = [];

  test('a session is 32 bytes: an ID without a ticket in TLS 1.2, the PSK identity in TLS 1.3', async () => {
    visitors = await firstVisits(await balancer);
    for (const { version, heard } of visitors) {
      if (version === 'TLSv1.2') {
        assert.equal(heard.ticket, null);
        assert.equal(heard.sessionId?.length, 32);
      } else {
        assert.equal(heard.ticket?.length, 32);
      }
    }
  });

  test('through the balancer that sent it there', async () => {
    visitors = await returnVisits(await balancer, visitors);
    const { counters } = await (await balancer).stats();
    assert.deepEqual(
      [counters['affinitySessionId'], counters['affinityPsk'], counters['affinityNone']],
      [CLIENTS, CLIENTS, 2 * CLIENTS],
    );
  });

  test('through a balancer that never saw it, and balances otherwise', async () => {
    const addresses = (await terminators).map(({ address }) => address);
    // In another order, too: a terminator is its name, not its place in a list.
    const other = await startBalancer(shared, addresses.toReversed(), ['--balance', 'roundrobin']);
    visitors = await returnVisits(other, visitors);
    const { counters } = await other.stats();
    assert.deepEqual([counters['affinitySessionId'], counters['affinityPsk']], [CLIENTS, CLIENTS]);
  });

  test('the terminators counted every one of them, and nobody in vain', async () => {
    const all = await terminators;
    assert.equal(await sum(all, 'handshakeFull12'), CLIENTS);
    assert.equal(await sum(all, 'handshakeFull13'), CLIENTS);
    assert.equal(await sum(all, 'handshakeResumed12'), 2 * CLIENTS);
    assert.equal(await sum(all, 'handshakeResumed13'), 2 * CLIENTS);
    assert.equal(await sum(all, 'sessionHits'), 4 * CLIENTS);
    assert.equal(await sum(all, 'offeredButFull'), 0);
  });

  for (const flag of ['-tls1_2', '-tls1_3']) {
    test(`openssl s_client ${flag} comes back with its session file`, async () => {
      const { address } = await balancer;
      const file = join(folder, `session${flag}.pem`);
      const common = [flag, '-CAfile', caFile, '-servername', 'localhost'];
      const request = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
      const first = await sClient(address, [...common, '-sess_out', file], request);
      const second = await sClient(address, [...common, '-sess_in', file], request);
      assert.match(first.text, /^New, TLSv1\.[23], Cipher is/m);
      assert.match(second.text, /^Reused, TLSv1\.[23], Cipher is/m);
      const page = /Your TLS ended at terminator (\w+)\./;
      assert.equal(page.exec(second.text)?.[1], page.exec(first.text)?.[1]);
    });
  }

  for (const version of VERSIONS) {
    test(`${version}: a session with one bit changed is a full handshake`, async () => {
      const all = await terminators;
      const before = await sum(all, 'sessionNotFound');
      const first = await visit(await balancer, version, '127.0.0.2');
      const second = await visit(await balancer, version, '127.0.0.2', tampered(first));
      assert.equal(second.resumed, false);
      assert.equal(await sum(all, 'sessionNotFound'), before + 1);
    });

    test(`${version}: a session of another server is a full handshake`, async (t) => {
      const foreign = createServer({
        cert: readFileSync(join(folder, 'ec.crt')),
        key: readFileSync(join(folder, 'ec.key')),
        secureOptions: constants.SSL_OP_NO_TICKET,
      });
      foreign.on('newSession', (_id, _data, stored) => stored());
      foreign.on('secureConnection', (socket) => {
        socket.on('error', () => {});
        socket.end('HTTP/1.1 200 OK\r\n\r\n');
      });
      t.after(() => foreign.close());
      await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
      const { port } = foreign.address() as AddressInfo;
      const theirs = await visit({ host: '127.0.0.1', port }, version, '127.0.0.2');

      const all = await terminators;
      // One foreign ID in sixteen looks like one of ours, until the table is asked.
      const unknown = async (): Promise<number> =>
        (await sum(all, 'sessionForeignId')) + (await sum(all, 'sessionNotFound'));
      const before = await unknown();
      const ours = await visit(await balancer, version, '127.0.0.2', sessionOf(theirs));
      assert.deepEqual([ours.resumed, ours.error], [false, null]);
      assert.equal(await unknown(), before + 1);
    });
  }
});

test('sessions under the old epoch of the routing key are still routed after a rotation', async (t) => {
  const { routingKey } = await testFiles();
  const rotating = join(folder, 'rotating.key');
  copyFileSync(routingKey, rotating);
  const flags = ['--routing-key-file', rotating];
  const terminators = await startTerminators(t, flags);
  const addresses = terminators.map(({ address }) => address);
  const balancers = await Promise.all([
    startBalancer(t, addresses, flags),
    startBalancer(t, addresses, flags),
  ]);
  const [first, second] = balancers;
  const epochs = (visitors: readonly Visitor[]): number[] => [
    ...new Set(visitors.map(({ heard }) => (heard.ticket ?? heard.sessionId)?.[0] ?? 0)),
  ];

  const visitors = await firstVisits(first);
  assert.deepEqual(epochs(visitors), [0x10], 'format 1, epoch 0');

  const added = await run(['secret', 'routing', '--out', rotating, '--add']);
  assert.equal(added.status, 0, added.stderr);
  for (const balancer of balancers) await balancer.reload();
  // Between the two reloads balancers know both epochs, and terminators seal with the old one.
  assert.deepEqual(epochs(await returnVisits(second, visitors)), [0x10]);
  for (const terminator of terminators) await terminator.reload();

  // TLS 1.3 gets IDs of the new epoch as it comes back; TLS 1.2 keeps its session of the old one.
  const returned = await returnVisits(second, visitors);
  assert.deepEqual(epochs(returned.filter(({ version }) => version === 'TLSv1.2')), [0x10]);
  assert.deepEqual(epochs(returned.filter(({ version }) => version === 'TLSv1.3')), [0x11]);
  await returnVisits(first, returned);
  const fresh = await firstVisits(first);
  assert.deepEqual(epochs(fresh), [0x11]);
  await returnVisits(second, fresh);
  assert.equal(await sum(terminators, 'offeredButFull'), 0);
});

test('without a routing key both warn, and the balancing algorithm decides', async (t) => {
  const names = ['one', 'two'];
  const terminators = await Promise.all(
    names.map(async (name) => {
      const { address } = await startOrigin(t, { kind: 'page', name });
      return start(t, [
        ...['terminator', '--listen', '127.0.0.1:0', '--upstream', address],
        ...certFlags,
      ]);
    }),
  );
  const balancer = await start(t, [
    ...['balancer', '--listen', '127.0.0.1:0', '--balance', 'roundrobin'],
    ...terminators.flatMap(({ address }) => ['--terminator', address]),
  ]);
  const WARN = 40;
  for (const [member, consequence] of [
    ...terminators.map((one) => [one, 'session ids do not name this terminator'] as const),
    [balancer, 'clients are not sent back to the terminator that knows them'] as const,
  ]) {
    const warning = await member.waitFor(`no routing key: ${consequence}`, { since: 0 });
    assert.equal(warning.level, WARN);
    assert.match(String(warning['fix']), /--routing-key-file/);
  }

  for (const version of VERSIONS) {
    // Its turn, the other's, and its own again: only the third meets the one who knows the session.
    const first = await visit(balancer, version, '127.0.0.2');
    const session = sessionOf(first);
    const second = await visit(balancer, version, '127.0.0.2', session);
    const third = await visit(balancer, version, '127.0.0.2', session);
    assert.equal(terminatorOn(third.body), terminatorOn(first.body));
    assert.notEqual(terminatorOn(second.body), terminatorOn(first.body));
    assert.deepEqual([second.resumed, third.resumed], [false, true]);
    // An odd number so far: the next version begins with the other terminator.
  }
  const { counters } = await balancer.stats();
  assert.deepEqual(
    [counters['affinityNone'], counters['affinityPsk'], counters['affinitySessionId']],
    [6, 0, 0],
  );
});
