import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InOrder } from '../../../../src/common/runtime/index.ts';

describe('a list of what is under way', () => {
  test('keeps the order in which its members came, whoever leaves', () => {
    const list = new InOrder<{ name: string }>();
    const names = () => [...list].map(({ name }) => name);
    const [first, second, third, fourth] = ['a', 'b', 'c', 'd'].map((name) => list.add({ name }));
    assert.ok(first && second && third && fourth);
    list.remove(second);
    assert.deepEqual(names(), ['a', 'c', 'd']);
    list.remove(fourth);
    list.remove(first);
    assert.deepEqual(names(), ['c']);
    assert.equal(list.first, third);
    list.add({ name: 'e' });
    assert.deepEqual(names(), ['c', 'e']);
  });

  test('is empty once all have left, and a second removal changes nothing', () => {
    const list = new InOrder<{ name: string }>();
    const place = list.add({ name: 'a' });
    list.remove(place);
    list.remove(place);
    assert.equal(list.first, undefined);
    const other = list.add({ name: 'b' });
    list.remove(place);
    assert.equal(list.first, other);
  });

  test('lets a removed place lead to nothing', () => {
    const list = new InOrder<{ name: string }>();
    list.add({ name: 'a' });
    const place = list.add({ name: 'b' });
    list.add({ name: 'c' });
    list.remove(place);
    assert.deepEqual(place, { value: undefined, before: undefined, after: undefined });
  });
});
