import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { returnMemory } from '../../../../src/common/runtime/return-memory.ts';

test('memory that is no longer used leaves the heap, and the collector is not left behind', () => {
  let held: object[] | undefined = Array.from({ length: 500_000 }, (_, number) => ({ number }));
  const before = process.memoryUsage().heapTotal;
  assert.equal(held.length, 500_000);
  held = undefined;
  returnMemory();
  assert.ok(process.memoryUsage().heapTotal < before - 8 * 1024 * 1024);
  assert.equal(runInNewContext('typeof gc'), 'undefined');
});
