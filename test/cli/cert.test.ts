import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { run } from '../walk/farm.ts';

const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-cert-'));
after(() => rmSync(folder, { recursive: true }));
const out = join(folder, 'certs');
const file = (name: string): string => join(out, name);
const openssl = (...args: string[]): string =>
  execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' });

test('tlsfarm cert makes a CA and two server certificates that openssl accepts', async () => {
  const args = ['cert', '--out', out, '--name', 'farm.test', '--name', '192.0.2.7', '--days', '7'];
  const { status, stderr } = await run(args);
  assert.equal(stderr, '');
  assert.equal(status, 0);
  for (const type of ['rsa', 'ec']) {
    const verify = ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', file('ca.crt')];
    for (const name of ['localhost', 'farm.test']) {
      assert.match(openssl(...verify, '-verify_hostname', name, file(`${type}.crt`)), /: OK/);
    }
    for (const ip of ['127.0.0.1', '::1', '192.0.2.7']) {
      assert.match(openssl(...verify, '-verify_ip', ip, file(`${type}.crt`)), /: OK/);
    }
    const fromCertificate = openssl('x509', '-in', file(`${type}.crt`), '-noout', '-pubkey');
    assert.equal(openssl('pkey', '-in', file(`${type}.key`), '-pubout'), fromCertificate);
    assert.throws(() => openssl(...verify, '-verify_hostname', 'x.test', file(`${type}.crt`)));
  }
  assert.match(openssl('x509', '-in', file('rsa.crt'), '-noout', '-text'), /\(2048 bit\)/);
  assert.match(openssl('x509', '-in', file('ec.crt'), '-noout', '-text'), /prime256v1/);
});

test('keys are private, certificates are not', () => {
  const mode = (name: string): number => statSync(file(name)).mode & 0o777;
  for (const name of ['ca.key', 'rsa.key', 'ec.key']) assert.equal(mode(name), 0o600);
  for (const name of ['ca.crt', 'rsa.crt', 'ec.crt']) assert.equal(mode(name), 0o644);
});

test('nothing is replaced without --force, everything with it', async () => {
  const before = readFileSync(file('rsa.key'), 'utf8');
  rmSync(file('ec.crt'));
  assert.equal((await run(['cert', '--out', out])).status, 2);
  assert.equal(readFileSync(file('rsa.key'), 'utf8'), before);
  assert.throws(() => statSync(file('ec.crt')), 'nothing half-written');
  assert.equal((await run(['cert', '--out', out, '--force'])).status, 0);
  assert.notEqual(readFileSync(file('rsa.key'), 'utf8'), before);
  assert.equal(statSync(file('rsa.key')).mode & 0o777, 0o600);
});
