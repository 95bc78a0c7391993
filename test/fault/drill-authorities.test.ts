import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runDrill } from '../support/drill.ts';

describe('authorities that somebody else certifies', { concurrency: true }, () => {
  test('intermediates of a real OpenBao, sealed and unsealed in the middle of a rotation, never stop issuing', async () => {
    const { code, figures, stderr } = await runDrill('upstream', '--short', '--json');
    assert.equal(code, 0, stderr);
    assert.ok(figures.minted > 0 && figures.issuers === 3, JSON.stringify(figures));
    assert.equal(figures.failed, 0);
  });

  test('a ceremony with two tokens ends in leaves below the offline root, and refuses what it must', async () => {
    const { code, figures, stderr } = await runDrill('ceremony', '--short', '--json');
    assert.equal(code, 0, stderr);
    assert.equal(figures.intermediates, 1);
    assert.equal(figures.verifiedByOpenssl, 2);
    assert.ok(
      Object.keys(figures.refusals).length >= 15 &&
        !Object.values(figures.refusals).includes('resolved'),
      JSON.stringify(figures),
    );
  });
});
