import assert from 'node:assert/strict';
import { test } from 'node:test';

import { findAffinity } from '../../balancer/affinity.ts';
import { type ClientHello, parseClientHello } from '../../balancer/client-hello.ts';
import { indexNodes, nodeId } from '../../config/node-id.ts';
import { createRoutableIdOpener, sealRoutableId } from '../../config/routable-id.ts';
import { deriveRoutingKeys } from '../../config/routing-key.ts';
import { buildHello, preSharedKey, supportedVersions } from './build-hello.ts';

const names = ['10.0.0.1:443', '10.0.0.2:443', '10.0.0.3:443'];
const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
const keys = deriveRoutingKeys({ epoch: 6, secret });
const opener = createRoutableIdOpener([keys]);
const nodes = indexNodes(names, [keys]);

let made = 0;
const seal = (name: string): Uint8Array =>
  sealRoutableId(keys, nodeId(keys.nodeIdKey, name), new Uint8Array(21).fill(++made));
const noise = (length = 32): Uint8Array => new Uint8Array(length).fill(0x16);

function hello(options: {
  tls13?: boolean;
  sessionId?: Uint8Array;
  psks?: Uint8Array[];
}): ClientHello {
  const { tls13 = true, sessionId = new Uint8Array(0), psks = [] } = options;
  const verdict = parseClientHello(
    buildHello({
      sessionId,
      extensions: [
        supportedVersions(...(tls13 ? [0x0304, 0x0303] : [0x0303])),
        ...(psks.length > 0 ? [preSharedKey(psks)] : []),
      ],
    }),
  );
  assert.equal(verdict.kind, 'hello');
  return verdict;
}

const first = seal('10.0.0.1:443');
const second = seal('10.0.0.2:443');
const third = seal('10.0.0.3:443');
const stranger = seal('10.9.9.9:443');

const cases: {
  name: string;
  hello: ClientHello;
  expect: [by: string, terminator: number, id: Uint8Array] | null;
}[] = [
  { name: 'nothing offered', hello: hello({}), expect: null },
  {
    name: 'a PSK identity goes before a session ID',
    hello: hello({ psks: [second], sessionId: first }),
    expect: ['psk', 1, second],
  },
  {
    name: 'a real session ID beside 1.3',
    hello: hello({ sessionId: first }),
    expect: ['session-id', 0, first],
  },
  {
    name: 'a real session ID beside a foreign PSK',
    hello: hello({ psks: [noise(), noise(100)], sessionId: first }),
    expect: ['session-id', 0, first],
  },
  {
    name: 'a 1.2 session ID',
    hello: hello({ tls13: false, sessionId: third }),
    expect: ['session-id', 2, third],
  },
  {
    name: 'a PSK without offering 1.3 is not looked at',
    hello: hello({ tls13: false, psks: [first] }),
    expect: null,
  },
  { name: 'noise', hello: hello({ psks: [noise()], sessionId: noise() }), expect: null },
  {
    name: 'a stateless ticket that starts like an ID',
    hello: hello({ psks: [new Uint8Array([...first, 0])] }),
    expect: null,
  },
  {
    name: 'the first that verifies wins',
    hello: hello({ psks: [noise(), noise(200), third, first] }),
    expect: ['psk', 2, third],
  },
  {
    name: 'the eighth identity is looked at',
    hello: hello({ psks: [...new Array<Uint8Array>(7).fill(noise()), second] }),
    expect: ['psk', 1, second],
  },
  {
    name: 'the ninth is not',
    hello: hello({ psks: [...new Array<Uint8Array>(8).fill(noise()), second] }),
    expect: null,
  },
  {
    name: 'a node that we do not know, with an ID to hash',
    hello: hello({ sessionId: stranger }),
    expect: ['session-id', -1, stranger],
  },
];

for (const { name, hello: offered, expect } of cases) {
  test(name, () => {
    const affinity = findAffinity(offered, opener, nodes);
    if (expect === null) {
      assert.equal(affinity, null);
      return;
    }
    const [by, terminator, id] = expect;
    assert.equal(affinity?.by, by);
    assert.equal(affinity?.terminator, terminator);
    assert.deepEqual([...(affinity?.id ?? [])], [...id]);
    assert.equal(affinity?.epoch, 6);
  });
}
