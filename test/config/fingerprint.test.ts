import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionPolicy } from '../../config/fingerprint.ts';
import { canonicalPolicy, fingerprint } from '../../config/fingerprint.ts';

const POLICY: SessionPolicy = {
  names: ['a.test', 'b.test'],
  clientAuth: 'optional',
  clientAuthorities: ['aa', 'bb'],
  minVersion: '1.2',
  maxVersion: '1.3',
  ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384',
  ciphersuites: 'TLS_AES_128_GCM_SHA256',
  groups: 'X25519:P-256',
  securityLevel: 2,
};

const hex = (policy: SessionPolicy): string => Buffer.from(fingerprint(policy)).toString('hex');

describe('the same policy has the same fingerprint, however it is written', () => {
  const same: Readonly<Record<string, Partial<SessionPolicy>>> = {
    'names in another order': { names: ['b.test', 'a.test'] },
    'names twice, in capitals, with the root dot': { names: ['A.test.', 'b.test', 'B.TEST'] },
    'authorities in another order and case': { clientAuthorities: ['BB', 'aa'] },
    'ciphers separated by commas': {
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES256-GCM-SHA384',
    },
    'groups in lower case': { groups: 'x25519:p-256' },
  };
  for (const [what, change] of Object.entries(same)) {
    test(what, () => assert.equal(hex({ ...POLICY, ...change }), hex(POLICY)));
  }
  test('ciphers of TLS 1.2 where only 1.3 is spoken', () => {
    const only13 = { ...POLICY, minVersion: '1.3' } as const;
    assert.equal(hex({ ...only13, ciphers: 'ANYTHING' }), hex(only13));
  });
});

describe('another policy has another fingerprint', () => {
  const other: Readonly<Record<string, Partial<SessionPolicy>>> = {
    'a name more': { names: ['a.test', 'b.test', 'c.test'] },
    'client certificates required': { clientAuth: 'required' },
    'another authority': { clientAuthorities: ['aa', 'cc'] },
    'newer versions only': { minVersion: '1.3' },
    'ciphers in another order': {
      ciphers: 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256',
    },
    'another suite': { ciphersuites: 'TLS_AES_256_GCM_SHA384' },
    'another group': { groups: 'X25519' },
    'another level': { securityLevel: 1 },
  };
  for (const [what, change] of Object.entries(other)) {
    test(what, () => assert.notEqual(hex({ ...POLICY, ...change }), hex(POLICY)));
  }
});

test('the hash is of 32 bytes over a text that never changes by accident', () => {
  assert.equal(fingerprint(POLICY).length, 32);
  assert.equal(
    canonicalPolicy(POLICY),
    [
      'tlsfarm session policy 1',
      'names=a.test,b.test',
      'client-auth=optional',
      'client-authorities=aa,bb',
      'versions=1.2-1.3',
      'ciphers=ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384',
      'ciphersuites=TLS_AES_128_GCM_SHA256',
      'groups=X25519:P-256',
      'security-level=2',
      '',
    ].join('\n'),
  );
});
