import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { indexNodes, nodeId } from '../../config/node-id.ts';
import { deriveRoutingKeys } from '../../config/routing-key.ts';

const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
const keys = [
  deriveRoutingKeys({ epoch: 5, secret }),
  deriveRoutingKeys({ epoch: 4, secret: secret.toReversed() }),
];
const [current, previous] = keys;
assert.ok(current !== undefined && previous !== undefined);

test('an id is the first four bytes of the keyed hash', () => {
  const mac = createHmac('sha256', current.nodeIdKey).update('a.example:443').digest('hex');
  assert.equal(nodeId(current.nodeIdKey, 'a.example:443'), Number.parseInt(mac.slice(0, 8), 16));
});

test('the index finds every terminator under every epoch, and nobody else', () => {
  const names = ['10.0.0.1:443', 'b.example:443', 'unix:/c'];
  const index = indexNodes(names, keys);
  for (const [i, name] of names.entries()) {
    assert.equal(index.find(5, nodeId(current.nodeIdKey, name)), i);
    assert.equal(index.find(4, nodeId(previous.nodeIdKey, name)), i);
    assert.equal(index.find(4, nodeId(current.nodeIdKey, name)), -1);
  }
  assert.equal(index.find(5, 1), -1);
});

test('a collision names both terminators', () => {
  // Found by trying names until two met.
  const names = ['10.0.0.1:443', 'node-67457.example:443', 'node-71415.example:443'];
  assert.throws(() => indexNodes(names, keys), {
    code: 'node-id-collision',
    message: /node-67457.example:443 and node-71415.example:443 have the same node id in epoch 5/,
  });
});

test('a terminator listed twice is an error', () => {
  assert.throws(() => indexNodes(['a:1', 'b:1', 'a:1'], []), { code: 'node-name-twice' });
});
