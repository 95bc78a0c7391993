import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GroupSize } from '../../../src/issuance/group-size.ts';

test('half of the certificates under way go together, up to a limit', () => {
  const size = new GroupSize();
  const left = [size.enter(25), size.enter(5)] as const;
  assert.equal(size.of(3), 15);
  left[1]();
  assert.equal(size.of(3), 13);
  const many = size.enter(1_000);
  assert.equal(size.of(3), 24);
  many();
  left[0]();
  assert.equal(size.of(1), 8, 'nobody else is under way');
});

test('half of those that wait go at least: with a slow disk the others are few', () => {
  const size = new GroupSize();
  size.enter(100);
  assert.equal(size.of(90), 45);
  assert.equal(size.of(20), 24);
});
