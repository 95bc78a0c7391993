import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { nobodysAuthority } from '../../../../sidecar/bundle/index.ts';
import { wanted } from '../../../../sidecar/files/delivery-wants.ts';
import { federatedDigest, federatedRootsOf } from '../../../../sidecar/files/federated-roots.ts';
import { filesOf, pemFilesOf } from '../../../../sidecar/files/set-files.ts';
import { setContent, setIssuer, plainLayout } from '../../../support/certificate-sets.ts';
import { deliveredSet } from '../../../support/delivery.ts';
import { bundleOf, entryOf, FakeBundles } from '../../../support/local-server-fakes.ts';
import { emptyRecord } from '../../../../sidecar/files/delivery-record.ts';

const layout = { ...plainLayout, federated: { 'b.test': 'partner.pem', 'c.test': 'c.pem' } };
const identity = (...federatesWith: readonly string[]) => {
  const entry = entryOf('web', 'spiffe://td.test/web', [], { federatesWith });
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};

test('each file of a foreign trust domain is there, and trusts nobody where no entry names it', () => {
  const bundles = new FakeBundles();
  const b = bundleOf('b.test');
  bundles.set(bundles.own, [b, bundleOf('d.test')]);
  const roots = federatedRootsOf(layout, identity('b.test', 'd.test'), bundles);
  assert.deepEqual(
    [...roots],
    [
      ['b.test', b.rootsDer],
      ['c.test', [nobodysAuthority()]],
    ],
  );
  for (const without of [identity(), identity('c.test'), undefined])
    assert.deepEqual(
      [...federatedRootsOf(layout, without, bundles).values()],
      [[nobodysAuthority()], [nobodysAuthority()]],
    );
  const content = { ...setContent(setIssuer()), federatedDer: roots };
  const files = new Map(
    pemFilesOf(layout, content).map(({ name, content: bytes }) => [name, bytes.toString()]),
  );
  assert.equal(files.get('partner.pem'), certificatesToPem(b.rootsDer));
  assert.equal(files.get('c.pem'), certificatesToPem([nobodysAuthority()]));
  assert.equal(files.get('ca.pem'), certificatesToPem(content.rootsDer));
  assert.equal(filesOf(layout)['federated:b.test'], 'partner.pem');
});

test('a change of foreign roots, or a withdrawal, makes a new set, and nothing else of them does', () => {
  const bundles = new FakeBundles();
  bundles.set(bundles.own, [bundleOf('b.test')]);
  const digest = (...names: readonly string[]): string =>
    federatedDigest(federatedRootsOf(layout, identity(...names), bundles));
  const before = digest('b.test');
  assert.equal(digest('b.test', 'd.test'), before);
  const served = deliveredSet(1, { federatedDigest: before });
  const reason = (federatedDigest: string) =>
    wanted(
      { ...emptyRecord(1_800_000_000), served },
      {
        ...{ now: 1_800_000_000, authoritySetDigest: served.authoritySetDigest },
        ...{ crlsDigest: undefined, identity: undefined, tainted: new Map(), federatedDigest },
      },
    )?.reason;
  assert.equal(reason(before), undefined);
  assert.equal(reason(digest()), 'roots');
  bundles.set(bundles.own, [bundleOf('b.test', 2)]);
  assert.equal(reason(digest('b.test')), 'roots');
  assert.equal(federatedDigest(federatedRootsOf(plainLayout, identity('b.test'), bundles)), '');
});
