import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProofSinceStart } from '../../../src/audit/start-proof.ts';

test('the newest checkpoint from before the start counts, and none that this process signed', () => {
  const since = new ProofSinceStart(10);
  assert.equal(since.unproven, true);
  // an empty tree, one of an earlier epoch, one of this process
  since.shown('a', 0);
  since.shown('a', 11);
  assert.deepEqual([since.unproven, since.proof], [true, undefined]);
  since.shown('a', 4);
  since.shown('b', 10);
  since.shown('c', 7);
  assert.deepEqual([since.unproven, since.proof], [false, { by: 'b', records: 10 }]);
});

test('a log that began with this process has nothing to prove', () => {
  assert.equal(new ProofSinceStart(0).unproven, false);
});
