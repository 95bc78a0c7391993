import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { wrapped } from '../../../src/cli/wrap.ts';

test('a line is broken between words, and goes on below the text of its first line', () => {
  assert.deepEqual(wrapped('next : see the status of it and more', 21), [
    'next : see the status',
    '       of it and more',
  ]);
  assert.deepEqual(wrapped('   └─ jwt  active   signs', 20), ['   └─ jwt  active', '      signs']);
});

test('a line that fits, or for which there is no terminal, stays as it is', () => {
  for (const columns of [0, 11, 12])
    assert.deepEqual(wrapped('next : wait', columns), ['next : wait']);
});

test('a word that is longer than the terminal is broken, and loses nothing', () => {
  const lines = wrapped(`alert: \u001b[1m${'x'.repeat(50)}\u001b[0m`, 20);
  assert.ok(lines.every((line) => stripVTControlCharacters(line).length <= 20));
  assert.equal(lines.join('').replaceAll(/[^x]/g, '').length, 50);
});

test('color codes take no place', () => {
  const red = '\u001b[1;31malert: wait\u001b[0m';
  assert.deepEqual(wrapped(red, 11), [red]);
});
