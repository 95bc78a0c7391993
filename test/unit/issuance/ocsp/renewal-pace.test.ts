import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { RenewalPace } from '../../../../src/issuance/ocsp/renewal-pace.ts';

suite('the pace of renewals', () => {
  const state = { inFlight: 0, signatures: 1_000 };
  let nowMs = 0;
  const pace = new RenewalPace({
    signers: { state: () => ({ ...state }) },
    clock: { monotonicMs: () => nowMs },
  });
  /** Begins when the rest is over. Returns the rest after it. */
  const batch = (during: () => void): number => {
    nowMs += pace.restMs();
    const over = pace.begin();
    during();
    nowMs += 20;
    state.signatures += 256;
    over(256);
    return pace.restMs();
  };

  test('does not rest while the signers sign for nobody else', () => {
    assert.equal(pace.restMs(), 0);
    assert.equal(
      batch(() => {}),
      0,
    );
    assert.equal(
      batch(() => {}),
      0,
    );
  });

  test('rests for three times as long as a batch took in which others signed or wait', () => {
    assert.equal(
      batch(() => (state.signatures += 1)),
      60,
    );
    nowMs += 45;
    assert.equal(pace.restMs(), 15);
    assert.equal(
      batch(() => (state.inFlight = 2)),
      60,
      'at its end',
    );
    assert.equal(
      batch(() => (state.inFlight = 0)),
      60,
      'at its beginning',
    );
    assert.equal(
      batch(() => {}),
      0,
    );
  });
});
