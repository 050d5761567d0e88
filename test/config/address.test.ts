import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { canonicalName, formatAddress, isWildcard, parseAddress } from '../../config/address.ts';

const good: [text: string, canonical: string][] = [
  ['10.0.0.1:8443', '10.0.0.1:8443'],
  ['Node-7.Farm.Example:443', 'node-7.farm.example:443'],
  ['node_7:1', 'node_7:1'],
  ['farm.example.:443', 'farm.example.:443'],
  ['localhost:0', 'localhost:0'],
  ['[::1]:65535', '[::1]:65535'],
  ['[2001:DB8:0:0:1:0:0:1]:443', '[2001:db8::1:0:0:1]:443'],
  ['[2001:db8:0:1:1:1:1:1]:443', '[2001:db8:0:1:1:1:1:1]:443'],
  ['[0:0:0:0:0:0:0:0]:443', '[::]:443'],
  ['[1::]:443', '[1::]:443'],
  ['[::FFFF:c000:201]:1', '[::ffff:192.0.2.1]:1'],
  ['[::ffff:192.0.2.1]:1', '[::ffff:192.0.2.1]:1'],
  ['[64:ff9b::192.0.2.33]:1', '[64:ff9b::c000:221]:1'],
  ['unix:/run/T1.sock', 'unix:/run/T1.sock'],
];

for (const [text, canonical] of good) {
  test(`good: ${text}`, () => {
    assert.equal(canonicalName(text), canonical);
    assert.deepEqual(parseAddress(canonical), parseAddress(text));
  });
}

const bad: [text: string, code: string][] = [
  ['', 'address-shape'],
  ['443', 'address-shape'],
  ['localhost', 'address-shape'],
  ['[::1]', 'address-shape'],
  ['[::1', 'address-shape'],
  [':443', 'address-host'],
  ['*:443', 'address-host'],
  ['[localhost]:443', 'address-host'],
  ['[]:443', 'address-host'],
  ['::1:443', 'address-brackets'],
  ['[fe80::1%eth0]:443', 'address-zone'],
  ['010.0.0.1:443', 'address-host'],
  ['10.0.0:443', 'address-host'],
  ['256.0.0.1:443', 'address-host'],
  ['a b:443', 'address-host'],
  ['a..b:443', 'address-host'],
  ['https://farm:443', 'address-brackets'],
  [`${'a'.repeat(64)}:443`, 'address-host'],
  [`${'a.'.repeat(130)}:443`, 'address-host'],
  ['localhost:', 'address-port'],
  ['localhost:65536', 'address-port'],
  ['localhost:0443', 'address-port'],
  ['localhost:+443', 'address-port'],
  ['localhost:4e2', 'address-port'],
  ['unix:', 'address-unix-path'],
  ['unix:run/a.sock', 'address-unix-path'],
  [`unix:/${'a'.repeat(107)}`, 'address-unix-path'],
  ['unix:/a\0b', 'address-unix-path'],
];

for (const [text, code] of bad) {
  test(`bad: ${JSON.stringify(text.slice(0, 40))}`, () => {
    assert.throws(
      () => parseAddress(text),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, code);
        assert.ok(!error.message.includes('\0') && error.message.length < 400);
        return true;
      },
    );
  });
}

test('a wildcard is an address that nobody can connect to', () => {
  const wild = ['0.0.0.0:443', '[::]:443', '[0::0]:443', '10.0.0.1:0'];
  const tame = ['10.0.0.1:443', '[::1]:443', 'farm.example:443', 'unix:/a'];
  for (const text of wild) assert.equal(isWildcard(parseAddress(text)), true, text);
  for (const text of tame) assert.equal(isWildcard(parseAddress(text)), false, text);
});

test('every IPv6 address has one name, whatever it was written like', () => {
  const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  });
  fc.assert(
    fc.property(groups, fc.integer({ min: 0, max: 65_535 }), (parts, port) => {
      const long = parts.map((part) => part.toString(16).padStart(4, '0').toUpperCase()).join(':');
      const canonical = canonicalName(`[${long}]:${port}`);
      assert.equal(canonicalName(canonical), canonical);
      // The URL parser writes RFC 5952 too, but for the mapped range.
      const expected = new URL(`tls://[${long}]`).hostname;
      if (!canonical.startsWith('[::ffff:')) assert.equal(canonical, `${expected}:${port}`);
    }),
  );
});

test('any text is an address that reads back, or an error with a code', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        const address = parseAddress(text);
        assert.deepEqual(parseAddress(formatAddress(address)), address);
      } catch (error) {
        assert.match((error as { code?: string }).code ?? '', /^address-/);
      }
    }),
  );
});
