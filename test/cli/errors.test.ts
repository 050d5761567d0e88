/**
 * What an operator can get wrong: one sentence on stderr that contains the fix, exit status 2,
 * nothing on stdout, nothing started.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { lookup } from 'node:dns/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { testFiles } from '../walk/files.ts';
import { run } from '../walk/farm.ts';

const found = await lookup('localhost');
const localhost = found.family === 6 ? `[${found.address}]` : found.address;
const { folder, routingKey } = await testFiles();
const file = (name: string): string => join(folder, name);

const TERMINATOR = ['terminator', '--listen', '127.0.0.1:0', '--upstream', '127.0.0.1:9'];
const CERT = ['--cert', file('rsa.crt'), '--key', file('rsa.key')];
const BALANCER = ['balancer', '--listen', '127.0.0.1:0'];

interface Wrong {
  readonly args: readonly string[];
  readonly says: RegExp;
  readonly env?: NodeJS.ProcessEnv;
}

const holder = createServer();

before(async () => {
  writeFileSync(file('junk'), 'junk\n', { mode: 0o600 });
  copyFileSync(routingKey, file('open.key'));
  chmodSync(file('open.key'), 0o644);
  const openssl = (...args: string[]): void =>
    void execFileSync('openssl', args, { stdio: 'ignore' });
  openssl('pkey', '-in', file('rsa.key'), '-aes128', '-passout', 'pass:x', '-out', file('enc.key'));
  const request = ['req', '-x509', '-nodes', '-subj', '/CN=x', '-newkey'];
  openssl(...request, 'rsa:1024', '-keyout', file('weak.key'), '-out', file('weak.crt'));
  openssl(...request, 'rsa:2048', '-keyout', file('rsa2.key'), '-out', file('rsa2.crt'));
  openssl(...request, 'ed25519', '-keyout', file('ed.key'), '-out', file('ed.crt'));
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  holder.unref();
});

const wrong: Readonly<Record<string, () => Wrong>> = {
  'a flag that is nearly known': () => ({
    args: ['terminator', '--lisen', 'x'],
    says: /unknown option '--lisen' \(Did you mean --listen\?\)/,
  }),
  'a command that is nearly known': () => ({
    args: ['blancer'],
    says: /unknown command 'blancer' \(Did you mean balancer\?\)/,
  }),
  'an argument too many': () => ({ args: [...BALANCER, 'more'], says: /too many arguments/ }),
  'no --listen': () => ({
    args: ['terminator', ...CERT],
    says: /--listen is missing: .*--listen 127/,
  }),
  'no --upstream': () => ({
    args: ['terminator', '--listen', '127.0.0.1:0', ...CERT],
    says: /--upstream is missing/,
  }),
  'no --terminator': () => ({ args: BALANCER, says: /--terminator is missing/ }),
  'no --cert': () => ({ args: TERMINATOR, says: /--cert is missing/ }),
  'a --cert without its --key': () => ({
    args: [...TERMINATOR, ...CERT, '--cert', file('ec.crt')],
    says: /There are 2 --cert and 1 --key: give each --cert its --key/,
  }),
  'a file that does not exist': () => ({
    args: [...TERMINATOR, '--cert', file('rsa.crt'), '--key', file('nope')],
    says: /--key \S+nope does not exist: check the path/,
  }),
  'a certificate that is none': () => ({
    args: [...TERMINATOR, '--cert', file('junk'), '--key', file('rsa.key')],
    says: /--cert \S+junk.*no PEM certificate.*leaf first/,
  }),
  'a key that is none': () => ({
    args: [...TERMINATOR, '--cert', file('rsa.crt'), '--key', file('junk')],
    says: /--key \S+junk: no PEM private key/,
  }),
  'a key with a passphrase': () => ({
    args: [...TERMINATOR, '--cert', file('rsa.crt'), '--key', file('enc.key')],
    says: /encrypted: decrypt it first/,
  }),
  'the key of another certificate': () => ({
    args: [...TERMINATOR, '--cert', file('rsa.crt'), '--key', file('rsa2.key')],
    says: /does not belong.*give each --cert the --key it was made with, in the same order/,
  }),
  'the key of another type': () => ({
    args: [...TERMINATOR, '--cert', file('rsa.crt'), '--key', file('ec.key')],
    says: /does not belong/,
  }),
  'two certificates of one type': () => ({
    args: [...TERMINATOR, ...CERT, '--cert', file('rsa2.crt'), '--key', file('rsa2.key')],
    says: /already a certificate with an RSA key: give at most one/,
  }),
  'a key that is too weak': () => ({
    args: [...TERMINATOR, '--cert', file('weak.crt'), '--key', file('weak.key')],
    says: /security level 2 refuses .*give one with RSA-2048/,
  }),
  'a key that no provider has': () => ({
    args: [...TERMINATOR, '--cert', file('ed.crt'), '--key', file('ed.key')],
    says: /ED25519 is not supported: use RSA/,
  }),
  ciphers: () => ({ args: [...TERMINATOR, ...CERT, '--ciphers', 'NO'], says: /--ciphers: "NO"/ }),
  suites: () => ({
    args: [...TERMINATOR, ...CERT, '--ciphersuites', 'NO'],
    says: /--ciphersuites: "NO"/,
  }),
  groups: () => ({ args: [...TERMINATOR, ...CERT, '--groups', 'NO'], says: /--groups: "NO"/ }),
  'a version': () => ({
    args: [...TERMINATOR, ...CERT, '--tls-min', '1.1'],
    says: /Allowed choices are 1\.2, 1\.3/,
  }),
  workers: () => ({
    args: [...TERMINATOR, ...CERT, '--workers', '0'],
    says: /Write a whole number from 1 to 256/,
  }),
  'a secret that others can read': () => ({
    args: [...TERMINATOR, ...CERT, '--routing-key-file', file('open.key')],
    says: /can be read by others \(mode 0644\): run `chmod 600 \S+open\.key`/,
  }),
  'the same by the environment': () => ({
    args: [...BALANCER, '--terminator', '127.0.0.1:9'],
    env: { TLSFARM_ROUTING_KEY_FILE: file('open.key') },
    says: /chmod 600/,
  }),
  'a secret that is none': () => ({
    args: [...BALANCER, '--terminator', '127.0.0.1:9', '--routing-key-file', file('junk')],
    says: /--routing-key-file \S+junk: Line 1: .*64 hex digits/,
  }),
  'a wildcard without a name': () => ({
    args: [
      ...['terminator', '--listen', '0.0.0.0:0', '--upstream', '127.0.0.1:9', ...CERT],
      ...['--routing-key-file', routingKey],
    ],
    says: /add --advertise/,
  }),
  'a port out of range': () => ({
    args: ['balancer', '--listen', '127.0.0.1:70000'],
    says: /port has to be a decimal number from 0 to 65535/,
  }),
  'a port in use': () => ({
    args: [
      ...['balancer', '--terminator', '127.0.0.1:9'],
      ...['--listen', `127.0.0.1:${(holder.address() as AddressInfo).port}`],
    ],
    says: /--listen 127\.0\.0\.1:\d+ is already in use: .*choose another address/,
  }),
  'an address of somebody else': () => ({
    args: ['balancer', '--listen', '192.0.2.1:4433', '--terminator', '127.0.0.1:9'],
    says: /is not an address of this machine/,
  }),
  'an upstream that nobody knows': () => ({
    args: ['terminator', '--listen', '127.0.0.1:0', '--upstream', 'x.invalid:80', ...CERT],
    says: /--upstream x\.invalid:80: the name .* cannot be resolved/,
  }),
  'a terminator that nobody knows': () => ({
    args: [...BALANCER, '--terminator', 'x.invalid:80'],
    says: /--terminator x\.invalid:80: the name .* cannot be resolved/,
  }),
  'an upstream on port 0': () => ({
    args: ['terminator', '--listen', '127.0.0.1:0', '--upstream', '127.0.0.1:0', ...CERT],
    says: /Port 0 cannot be connected to/,
  }),
  'a terminator twice': () => ({
    args: [...BALANCER, '--terminator', '127.0.0.1:9', '--terminator', '127.0.0.1:9'],
    says: /127\.0\.0\.1:9 is listed twice/,
  }),
  'a terminator under two names': () => ({
    args: [...BALANCER, '--terminator', 'localhost:9', '--terminator', `${localhost}:9`],
    says: /--terminator localhost:9 and --terminator \S+:9 are both/,
  }),
  'an algorithm': () => ({
    args: [...BALANCER, '--terminator', '127.0.0.1:9', '--balance', 'random'],
    says: /Allowed choices are rendezvous, roundrobin, leastconn/,
  }),
  'a secret that would be overwritten': () => ({
    args: ['secret', 'routing', '--out', routingKey],
    says: /exists: .*--force/,
  }),
  'an epoch for a secret that is not there': () => ({
    args: ['secret', 'routing', '--add', '--out', file('nope')],
    says: /does not exist/,
  }),
  'add and force': () => ({
    args: ['secret', 'routing', '--add', '--force', '--out', file('nope')],
    says: /say one of them/,
  }),
  'certificates that would be overwritten': () => ({
    args: ['cert', '--out', folder],
    says: /would be replaced: choose another --out, or say --force/,
  }),
  'a name for a certificate': () => ({
    args: ['cert', '--out', file('c'), '--name', 'a b'],
    says: /Write a DNS name or an IP address/,
  }),
  'a farm on a unix socket': () => ({
    args: ['up', '--listen', 'unix:/x'],
    says: /--listen has to be host:port/,
  }),
  'a farm in a file': () => ({
    args: ['up', '--listen', '127.0.0.1:0', '--dir', file('junk')],
    says: /--dir \S+junk is not a folder/,
  }),
};

describe('one sentence with the fix, exit status 2', { concurrency: 4 }, () => {
  for (const [what, make] of Object.entries(wrong)) {
    test(what, async () => {
      const { args, says, env } = make();
      const { status, stdout, stderr } = await run(args, env);
      assert.match(stderr, says);
      assert.match(stderr, /^tlsfarm: .+\n$/, 'one line');
      assert.equal(status, 2);
      assert.equal(stdout, '');
    });
  }
});

describe('help teaches', () => {
  for (const command of ['up', 'terminator', 'balancer', 'cert', 'secret routing']) {
    test(`${command} has a paragraph and an example`, async () => {
      const { status, stdout } = await run([...command.split(' '), '--help']);
      assert.equal(status, 0);
      assert.match(
        stdout,
        new RegExp(`Example.*\\n  \\$ tlsfarm ${command}|\\$ tlsfarm ${command}`),
      );
      assert.ok((stdout.split('\n\n')[1]?.length ?? 0) > 100);
    });
  }
  test('a command alone is explained', async () => {
    const { status, stderr } = await run([]);
    assert.equal(status, 2);
    assert.match(stderr, /tlsfarm up/);
  });
});
