/** A hello may offer a thousand sessions; what it may cost is eight look-ups. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { visit } from '../../cli/visit.ts';
import { deriveRoutingKeys } from '../../config/routing-key.ts';
import { readRoutingKeyFile } from '../../config/routing-key-file.ts';
import { nodeId } from '../../config/node-id.ts';
import { native } from '../../native/index.ts';
import type { FarmMember } from './farm.ts';
import { startBalancer, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Cleanup, Origin } from './origin.ts';
import { startOrigin } from './origin.ts';
import { atRest, count, rise, sumOf } from './at-rest.ts';
import { RawClient } from './raw-client.ts';
import type { Ticket } from './tls13-client.ts';
import { connectTls13, helloBytes } from './tls13-client.ts';

const MANY = 1_200;
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

test('of 1,200 identities a terminator looks up eight, and the handshake is a full one', async (t) => {
  const { terminator } = await startOne(t);
  const before = await terminator.stats();

  // 46 KB: OpenSSL wants a binder for the identity that it takes only. With one each they would not fit.
  const identities = strangers(MANY);
  const client = await connectTls13({ port: terminator.port, identities, binders: 1 });
  assert.equal(client.resumed, false);
  client.write(REQUEST);
  assert.equal(await client.ended(), 'fin');
  assert.match(client.text(), /^HTTP\/1.1 200 /);
  client.end();

  const after = await atRest(terminator);
  assert.equal(rise(before, after, 'sessionLookups'), 8);
  assert.equal(rise(before, after, 'sessionLookupsShed'), MANY - 8);
  assert.equal(rise(before, after, 'sessionNotFound'), 8);
  assert.equal(rise(before, after, 'handshakeFull13'), 1);
  assert.equal(rise(before, after, 'offeredButFull'), 1);
});

test('a session of ours is resumed as the eighth of 1,200 identities, and not as the ninth', async (t) => {
  const { terminator } = await startOne(t);
  const ticket = await ticketFrom(terminator.port);
  const resume = async (at: number): Promise<boolean> => {
    const client = await connectTls13({
      port: terminator.port,
      identities: strangers(MANY - 1),
      ticket,
      at,
      binders: at + 1,
    });
    client.write(REQUEST);
    await client.ended();
    client.end();
    assert.match(client.text(), /^HTTP\/1.1 200 /);
    return client.resumed;
  };
  const before = await terminator.stats();
  assert.equal(await resume(7), true);
  assert.equal(await resume(8), false);
  const after = await atRest(terminator);
  assert.equal(rise(before, after, 'handshakeResumed13'), 1);
  assert.equal(rise(before, after, 'handshakeFull13'), 1);
  assert.ok(rise(before, after, 'sessionLookups') <= 16);
});

test('a balancer routes by the first eight identities only, and passes all 1,200 on', async (t) => {
  const { origin, terminator } = await startOne(t);
  const other = await startTerminator(t, origin.address);
  const terminators = [terminator, other];
  const balancer = await startBalancer(
    t,
    terminators.map(({ address }) => address),
  );

  // Those that no terminator may look up are short: with their binders 1,200 must fit into 64 KiB.
  const identities = [...strangers(15), ...strangers(MANY - 16, 8)];
  for (const target of terminators) {
    const ticket = await ticketFrom(target.port);
    const before = await Promise.all([balancer, ...terminators].map((member) => member.stats()));
    const client = await connectTls13({ port: balancer.port, identities, ticket, at: 7 });
    assert.equal(client.resumed, true);
    client.write(REQUEST);
    await client.ended();
    client.end();
    const after = await Promise.all([balancer, ...terminators].map(atRest));
    const rises = (name: string, member: FarmMember): number => {
      const at = [balancer, ...terminators].indexOf(member);
      return rise(before[at]!, after[at]!, name);
    };
    assert.equal(rises('affinityPsk', balancer), 1);
    assert.equal(rises('handshakeResumed13', target), 1);
    for (const each of terminators) assert.ok(rises('sessionLookups', each) <= 8);
  }

  // IDs that name the one or the other, but as the ninth: nobody opens them.
  const before = await balancer.stats();
  for (const { address } of terminators) {
    const late = [...identities];
    late[8] = await routableId(address);
    const client = await connectTls13({ port: balancer.port, identities: late });
    client.reset();
  }
  const after = await atRest(balancer);
  assert.equal(rise(before, after, 'affinityPsk'), 0);
  assert.equal(rise(before, after, 'affinityNone'), 2);
  assert.equal(sumOf(after, 'notTls:'), 0);
});

test('a balancer refuses more identities than binders, and counts it', async (t) => {
  const { terminator } = await startOne(t);
  const balancer = await startBalancer(t, [terminator.address]);
  const client = await RawClient.open(balancer.port);
  client.write(helloBytes({ identities: strangers(MANY), binders: 1 }));
  const seen = await client.ended();
  assert.equal(seen.bytes.length, 0);
  const after = await atRest(balancer);
  assert.equal(count(after, 'routeRefused'), 1);
  assert.equal(count(after, 'notTls:bad-pre-shared-key'), 1);

  const { ca } = await testFiles();
  const served = await visit({
    ...{ host: balancer.host, port: balancer.port, ca, client: null, session: null },
    version: 'TLSv1.3',
  });
  assert.equal(served.error, null);
});

async function startOne(t: Cleanup): Promise<{ origin: Origin; terminator: FarmMember }> {
  const origin = await startOrigin(t, { kind: 'page', name: 'origin' });
  return { origin, terminator: await startTerminator(t, origin.address, ['--workers', '1']) };
}

/** IDs of the form that our terminators give, so that they are worth a look-up, but nobody's. */
function strangers(howMany: number, length = 32): Uint8Array[] {
  return Array.from({ length: howMany }, () => {
    const id = randomBytes(length);
    id[0] = 0x10 | ((id[0] ?? 0) & 0x0f);
    return id;
  });
}

/** An ID that names the terminator; it has no such session. */
async function routableId(address: string): Promise<Uint8Array> {
  const { routingKey } = await testFiles();
  const [current] = readRoutingKeyFile(routingKey).epochs;
  if (current === undefined) throw new Error('no epoch');
  const { epoch, k1, k2, nodeIdKey } = deriveRoutingKeys(current);
  const key = { epoch, k1, k2, nodeId: nodeId(nodeIdKey, address) };
  return native.sealRoutableId(key, randomBytes(21));
}

async function ticketFrom(port: number): Promise<Ticket> {
  const client = await connectTls13({ port });
  const ticket = await client.ticket();
  client.end();
  await client.ended();
  return ticket;
}
