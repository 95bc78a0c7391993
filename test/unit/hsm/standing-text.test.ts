import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standingText } from '../../../src/hsm/standing-text.ts';

test('a token that does not sign is told in words that do not sound as if it did', () => {
  const reason = 'HSM_UNAVAILABLE: C_OpenSession: CKR_DEVICE_REMOVED';
  for (const status of ['ready', 'degraded'] as const)
    assert.equal(standingText({ status, reason: undefined }, 'issuing'), undefined);
  const away = standingText({ status: 'open', reason }, 'issuing') ?? '';
  assert.match(away, /^the HSM \(issuing token\) can not be used: no signer reaches it\./);
  assert.match(away, /tries again by itself.*network HSM.*CKR_DEVICE_REMOVED/);
  assert.match(
    standingText({ status: 'fatal', reason: 'HSM_PIN_WRONG: x' }, 'issuing') ?? '',
    /is not tried again.*restarted the server \(HSM_PIN_WRONG: x\)/,
  );
  for (const status of ['starting', 'open', 'fatal', 'closed'] as const)
    assert.doesNotMatch(standingText({ status, reason: undefined }, 'issuing') ?? '', /is open/);
});
