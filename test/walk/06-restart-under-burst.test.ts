import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeCertificates } from '../../cli/cert.ts';
import { page } from '../../cli/demo-origin.ts';
import { makeCertificates } from '../../cli/development-certificates.ts';
import { startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import type { Load } from './load.ts';
import { failed, startLoad } from './load.ts';
import { startOrigin } from './origin.ts';
import { gone } from './processes.ts';
import { call, sessionOf } from './tls-client.ts';

const BURST = 2_000;
const CLIENTS = 64;

async function assertUnharmed(load: Load): Promise<void> {
  const visits = await load.stop();
  assert.ok(visits.length >= BURST);
  assert.deepEqual(failed(visits), [], 'nobody is refused, nobody is reset');
  const full = visits.filter(({ offered, resumed }) => offered && !resumed);
  assert.deepEqual(full, [], 'every session that was offered is resumed');
  assert.ok(visits.filter(({ resumed }) => resumed).length > BURST / 4);
}

test('SIGTERM to one son after the other under a burst of connects: no refusal, no reset, sessions kept', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'one' });
  const terminator = await startTerminator(t, origin.address);
  const sons = await terminator.sonPids();
  const load = await startLoad(t, terminator, { clients: CLIENTS, restMs: 0 });
  t.diagnostic(`seed ${load.seed}`);
  for (const son of sons) {
    await load.more(BURST / 4);
    const left = terminator.waitFor('son left');
    process.kill(son, 'SIGTERM');
    assert.equal((await left)['son'], son);
  }
  await load.more(Math.max(0, BURST - load.visits.length));
  await assertUnharmed(load);
  await gone(sons, 5_000);
  const successors = await terminator.sonPids();
  assert.equal(successors.length, sons.length);
  assert.ok(successors.every((pid) => !sons.includes(pid)));
  const { counters } = await terminator.stats();
  assert.equal(counters['accepted'], load.visits.length, 'the numbers of those who left are kept');
});

test('SIGHUP under a burst of connects: no refusal, no reset, sessions kept', async (t) => {
  const origin = await startOrigin(t, { kind: 'page', name: 'one' });
  const terminator = await startTerminator(t, origin.address);
  const sons = await terminator.sonPids();
  const load = await startLoad(t, terminator, { clients: CLIENTS, restMs: 0 });
  t.diagnostic(`seed ${load.seed}`);
  for (let times = 0; times < 2; times++) {
    await load.more(BURST / 4);
    await terminator.reload();
  }
  await load.more(Math.max(0, BURST - load.visits.length));
  await assertUnharmed(load);
  await gone(sons, 5_000);
  assert.equal((await terminator.sonPids()).length, sons.length);
});

test('a reload with files that do not check out changes nothing and says why; with a new certificate it serves that', async (t) => {
  const { folder, ca } = await testFiles();
  const own = mkdtempSync(join(folder, 'reload-'));
  const file = (name: string): string => join(own, name);
  for (const name of ['rsa.crt', 'rsa.key', 'ec.crt', 'ec.key']) {
    copyFileSync(join(folder, name), file(name));
  }
  const origin = await startOrigin(t, { kind: 'page', name: 'one' });
  const terminator = await startTerminator(t, origin.address, [
    ...['--cert', file('rsa.crt'), '--key', file('rsa.key')],
    ...['--cert', file('ec.crt'), '--key', file('ec.key')],
  ]);
  const sons = await terminator.sonPids();
  const first = await call(terminator, { ca });
  assert.deepEqual([first.error, first.body], [null, page('one')]);

  const next = await makeCertificates([], 2, new Date());
  const broken: [string, string, RegExp][] = [
    ['ec.crt', 'not a certificate', /^reload refused: --cert \S+ec\.crt.*no PEM certificate/],
    ['ec.key', 'not a key', /^reload refused: .*--key \S+ec\.key: no PEM private key/],
    [
      'ec.crt',
      next['ec.crt'] ?? '',
      /^reload refused: --cert \S+ec\.crt, --key \S+ec\.key: .*does not belong/,
    ],
  ];
  for (const [name, text, reason] of broken) {
    writeFileSync(file(name), text);
    await assert.rejects(terminator.reload(), { message: reason });
    copyFileSync(join(folder, name), file(name));
    assert.deepEqual(await terminator.sonPids(), sons);
    const heard = await call(terminator, { ca });
    assert.deepEqual([heard.error, heard.fingerprint], [null, first.fingerprint]);
  }

  writeCertificates(own, next, true);
  await terminator.reload();
  assert.notDeepEqual(await terminator.sonPids(), sons);
  const renewed = await call(terminator, { ca: next['ca.crt'] });
  assert.equal(renewed.error, null);
  assert.notEqual(renewed.fingerprint, first.fingerprint);
  // Sessions belong to a policy, not to a certificate: renewing one costs no resumption.
  const resumed = await call(terminator, { ca, session: sessionOf(first) });
  assert.deepEqual([resumed.error, resumed.resumed], [null, true]);
});
