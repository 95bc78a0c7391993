import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { RenewalPace } from '../../../../src/issuance/ocsp/renewal-pace.ts';

suite('the pace of renewals', () => {
  const state = { inFlight: 0, signatures: 1_000 };
  let nowMs = 0;
  const rests: number[] = [];
  const pace = new RenewalPace({
    signers: { state: () => ({ ...state }) },
    clock: {
      monotonicMs: () => nowMs,
      sleep: (delayMs) => {
        rests.push(delayMs);
        return Promise.resolve();
      },
    },
  });
  const batch = async (during: () => void): Promise<readonly number[]> => {
    rests.length = 0;
    const over = pace.begin();
    during();
    nowMs += 20;
    state.signatures += 256;
    await over(256);
    return [...rests];
  };

  test('does not rest while the signers sign for nobody else', async () => {
    assert.deepEqual(await batch(() => {}), []);
    assert.deepEqual(await batch(() => {}), []);
  });

  test('rests for three times as long as a batch took in which others signed or wait', async () => {
    assert.deepEqual(await batch(() => (state.signatures += 1)), [60]);
    assert.deepEqual(await batch(() => (state.inFlight = 2)), [60], 'at its end');
    assert.deepEqual(await batch(() => (state.inFlight = 0)), [60], 'at its beginning');
    assert.deepEqual(await batch(() => {}), []);
  });
});
