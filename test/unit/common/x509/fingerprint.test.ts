import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFingerprint } from '../../../../src/common/x509/index.ts';

const plain = '0a'.repeat(32);

test('a fingerprint counts in each form that programs print', () => {
  const colons = Array.from({ length: 32 }, () => '0A').join(':');
  for (const form of [
    plain,
    plain.toUpperCase(),
    `sha256:${plain}`,
    `SHA256:${colons}`,
    ` ${plain}\n`,
  ])
    assert.deepEqual(parseFingerprint(form), { ok: true, value: plain });
});

test('what is no SHA-256 is refused', () => {
  for (const text of ['', plain.slice(1), `${plain}0`, '0g'.repeat(32)]) {
    const parsed = parseFingerprint(text);
    assert.equal(parsed.ok ? 'ok' : parsed.error.code, 'INVALID_REQUEST');
  }
});
