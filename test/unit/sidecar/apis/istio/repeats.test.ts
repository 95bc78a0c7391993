import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Repeats } from '../../../../../sidecar/apis/istio/repeats.ts';
import { FakeClock } from '../../../../support/agent.ts';

test('a call that repeats within a minute has the ID of the first, and a later one a new ID', () => {
  const clock = new FakeClock();
  const repeats = new Repeats(clock);
  const first = repeats.requestIdOf('a');
  const other = repeats.requestIdOf('b');
  assert.notEqual(other, first);
  clock.advance(59_999);
  assert.equal(repeats.requestIdOf('a'), first);
  // counted from the first call
  clock.advance(1);
  assert.notEqual(repeats.requestIdOf('a'), first);
});

test('a refused call is forgotten, and another caller is not', () => {
  const repeats = new Repeats(new FakeClock());
  const [first, other] = [repeats.requestIdOf('a'), repeats.requestIdOf('b')];
  repeats.forget('a');
  assert.notEqual(repeats.requestIdOf('a'), first);
  assert.equal(repeats.requestIdOf('b'), other);
});

test('of too many calls the oldest is forgotten', () => {
  const repeats = new Repeats(new FakeClock());
  const first = repeats.requestIdOf('first');
  const second = repeats.requestIdOf('second');
  for (let index = 0; index < 9_998; index += 1) repeats.requestIdOf(`${index}`);
  repeats.requestIdOf('one more');
  assert.equal(repeats.requestIdOf('second') === second, false);
  assert.notEqual(repeats.requestIdOf('first'), first);
});
