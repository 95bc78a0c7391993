import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/common/errors/index.ts';
import { standingText } from '../../../src/hsm/standing-text.ts';

test('a token that does not sign is told in words that do not sound as if it did', () => {
  const reason = 'HSM_UNAVAILABLE: C_OpenSession: CKR_DEVICE_REMOVED';
  for (const status of ['ready', 'degraded'] as const)
    assert.equal(
      standingText({ status, reason: undefined, code: undefined }, 'issuing'),
      undefined,
    );
  const away = standingText({ status: 'open', reason, code: 'HSM_UNAVAILABLE' }, 'issuing') ?? '';
  assert.match(away, /^the HSM \(issuing token\) can not be used: no signer reaches it\./);
  assert.match(away, /tries again by itself.*network HSM.*CKR_DEVICE_REMOVED/);
  const fatal = (code: ErrorCode): string =>
    standingText({ status: 'fatal', reason: `${code}: x`, code }, 'issuing') ?? '';
  assert.match(
    fatal('HSM_PIN_WRONG'),
    /refused the PIN.*Put the right PIN in its place and send SIGHUP.*\(HSM_PIN_WRONG: x\)$/,
  );
  assert.match(fatal('HSM_PIN_LOCKED'), /locked its PIN.*Unlock the token/);
  assert.match(
    fatal('HSM_SIGNATURE_INVALID'),
    /is not used again.*restarted the server \(HSM_SIGNATURE_INVALID: x\)$/,
  );
  for (const status of ['starting', 'open', 'fatal', 'closed'] as const)
    assert.doesNotMatch(
      standingText({ status, reason: undefined, code: undefined }, 'issuing') ?? '',
      /is open/,
    );
});
