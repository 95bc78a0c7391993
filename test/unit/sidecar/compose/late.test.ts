import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Late } from '../../../../sidecar/compose/late.ts';

test('a part that is made late throws until it is made, and is made once', () => {
  const late = new Late<{ readonly port: number }>('the door');
  assert.throws(() => late.value, /the door is used before it is made/);
  late.fill({ port: 7 });
  assert.equal(late.value.port, 7);
  assert.throws(() => late.fill({ port: 8 }), /the door is made twice/);
  assert.equal(late.value.port, 7);
});
