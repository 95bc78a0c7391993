import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Crowd } from '../../../../src/common/runtime/index.ts';

test('the oldest of whoever holds most gives way, and a newcomer counts one more', () => {
  const crowd = new Crowd<string>();
  assert.equal(crowd.victim(), undefined);
  crowd.add('a1', 'a');
  crowd.add('b1', 'b');
  crowd.add('b2', 'b');
  assert.equal(crowd.victim(), 'b1');
  crowd.add('a2', 'a');
  assert.equal(crowd.victim('b'), 'b1');
  assert.equal(crowd.victim('a'), 'a1');
  crowd.add('a1', 'a');
  assert.equal(crowd.victim('a'), 'a2', 'what is added again is the newest');
  assert.deepEqual([crowd.size, crowd.count('a'), crowd.oldestOf('b')], [4, 2, 'b1']);
  assert.equal(crowd.delete('b1'), true);
  assert.equal(crowd.delete('b1'), false);
  crowd.delete('b2');
  assert.deepEqual(
    [crowd.count('b'), crowd.oldestOf('b'), [...crowd.items()]],
    [0, undefined, ['a2', 'a1']],
  );
});
