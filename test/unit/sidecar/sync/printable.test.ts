import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from '../../../../sidecar/sync/printable.ts';
import { checkText } from '../../../../src/services/requests.ts';

test('the server refuses no text of a workload, whatever character is in it', () => {
  for (let code = 0; code <= 0xffff; code += 1) {
    const text = printable(`a${String.fromCharCode(code)}b`);
    assert.equal(checkText('reason', text, 500), text, `U+${code.toString(16)}`);
    assert.ok(text.isWellFormed() && text.startsWith('a') && text.endsWith('b'));
  }
});

test('a long text is cut, and no letter of it in two', () => {
  const text = printable(`a${'\u{1f511}'.repeat(5_000)}`);
  assert.equal(text.length, 400);
  assert.ok(text.isWellFormed());
});
