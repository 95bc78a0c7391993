import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { spkiOf } from '../../../../src/common/x509/index.ts';
import { bundleDocumentOf, foreignRoot, newJwtKey } from '../../../support/bundle-endpoint.ts';
import { startDualWorld, switchOn } from '../../../support/dual-control.ts';
import { codeOf } from '../../../support/server.ts';

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('trust waits for approvers, who see digests of its roots and JWT keys; its end waits for none', async () => {
  await using w = await startDualWorld();
  await switchOn(w);
  const [root, key] = [foreignRoot('partner.test'), newJwtKey()];
  const bundle = bundleDocumentOf({ roots: [root], jwtKeys: { k1: key } });
  const trustDomain = 'partner.test';
  const id = await w.held(
    w.server.admin('Federation/CreateRelationship', {
      ...{ trustDomain, endpointUrl: 'https://localhost:1/', endpointProfile: 'https_spiffe' },
      endpointSpiffeId: 'spiffe://partner.test/ca',
      bundleDocument: Buffer.from(bundle),
    }),
  );
  const absent = w.server.admin('Federation/GetRelationship', { trustDomain });
  assert.equal(await codeOf(absent), 'NOT_FOUND');
  const { explanation } = await w.server.admin('Approvals/GetOperation', { id });
  const text = explanation.join('\n');
  assert.match(text, /from spiffe:\/\/partner\.test\/ca alone/);
  assert.ok(text.includes(`Root in the bundle: SHA-256 ${sha256(root.certificateDer)}`), text);
  assert.ok(text.includes(`JWT key in the bundle: "k1", SHA-256 ${sha256(spkiOf(key))}`), text);
  await w.approve(id, w.keys.alice, w.keys.bob);
  const made = await w.server.admin('Federation/GetRelationship', { trustDomain });
  assert.deepEqual(made.bundle?.jwtKeyIds, ['k1']);
  await w.server.admin('Federation/DeleteRelationship', { trustDomain, reason: 'over' });
  const gone = w.server.admin('Federation/GetRelationship', { trustDomain });
  assert.equal(await codeOf(gone), 'NOT_FOUND');
});
