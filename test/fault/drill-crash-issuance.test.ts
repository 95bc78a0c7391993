import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('each intent is synced before signing and each record before release, and recovery needs no more', async () => {
  const { code, figures, stderr } = await runDrill(
    'crash-issuance',
    '--short',
    '--json',
    '--only',
    'order',
  );
  assert.equal(code, 0, stderr);
  const { certificates, syncedBeforeSigning, syncedBeforeRelease, foundAfterPowerLoss, images } =
    figures.order;
  assert.ok(certificates >= 60 && images >= 10);
  for (const share of [syncedBeforeSigning, syncedBeforeRelease, foundAfterPowerLoss])
    assert.equal(share, `${certificates}/${certificates}`);
});

test('the same drill fails when commits are not synced', async () => {
  const { code, figures, stderr } = await runDrill(
    'crash-issuance',
    '--short',
    '--json',
    '--only',
    'order',
    '--synchronous',
    'off',
  );
  assert.equal(code, 1, stderr);
  const { certificates, syncedBeforeSigning, syncedBeforeRelease, foundAfterPowerLoss } =
    figures.order;
  for (const share of [syncedBeforeSigning, syncedBeforeRelease, foundAfterPowerLoss])
    assert.equal(share, `0/${certificates}`);
});

test('after kill -9 at any step each released certificate is recorded, and no abandoned one is signed', async () => {
  const { code, figures, stderr } = await runDrill(
    'crash-issuance',
    '--short',
    '--json',
    '--only',
    'kills',
  );
  assert.equal(code, 0, stderr);
  assert.equal(figures.kills.server, 12);
  assert.equal(figures.kills.signer, 12);
  assert.ok(figures.kills.received > 0 && figures.kills.abandoned > 0);
});

test('nothing is released after a ban or delete, and a killed first start leaves no orphan', async () => {
  const { code, figures, stderr } = await runDrill(
    'crash-issuance',
    '--short',
    '--json',
    '--only',
    'rights,first-start',
  );
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    [figures.rights.bans, figures.rights.deletes, figures.firstStart.kills],
    [4, 4, 4],
  );
  assert.ok(figures.rights.refusedAfter > 0);
});
