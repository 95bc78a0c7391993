import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crlBounds, crlReach } from '../../../src/domain/index.ts';

const ofBytes = (...sizes: readonly number[]) => sizes.map((size) => ({ der: Buffer.alloc(size) }));

test('CRLs reach everybody until they are nearly too large for the default limit of gRPC clients', () => {
  assert.equal(crlReach([]), 'all');
  assert.equal(crlReach(ofBytes(crlBounds.workloads)), 'all');
  assert.equal(crlReach(ofBytes(crlBounds.workloads, 1)), 'large-messages');
});

test('CRLs that a message to an agent can not take go over HTTP alone', () => {
  const half = crlBounds.agents / 2;
  assert.equal(crlReach(ofBytes(half, half)), 'large-messages');
  assert.equal(crlReach(ofBytes(half, half, 1)), 'http');
});
