import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LateEdges } from '../../../src/compose/late-edges.ts';

test('an edge that points up is filled once, and a use before that is an error and no answer', () => {
  const late = new LateEdges();
  assert.throws(() => late.edges.isConnected('a'), { code: 'INTERNAL' });
  late.fill({ isConnected: (agentId) => agentId === 'a' });
  assert.deepEqual([late.edges.isConnected('a'), late.edges.isConnected('b')], [true, false]);
  assert.throws(() => late.fill({ isConnected: () => false }), { code: 'INTERNAL' });
});
