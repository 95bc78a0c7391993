import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fitsSelection,
  type CertificateSelection,
  type SelectedFacts,
} from '../../../src/domain/index.ts';

const facts: SelectedFacts = {
  spiffeId: 'spiffe://mesh.test/shop/web',
  holder: 'spiffe://mesh.test/control',
  entryId: null,
  delegationId: 'd1',
  publicKeySha256: 'ab'.repeat(32),
  authorityId: 'a1',
  createdAtMs: 10_999,
  tenant: 'sold',
  dnsNames: ['web.shop.test', '*.api.test'],
};
const owned = (dnsSuffixes: string[], spiffePrefixes: string[] = []): CertificateSelection => ({
  tenant: 'shop',
  owned: { name: 'shop', dnsSuffixes, spiffePrefixes },
});

test('a certificate fits a selection if it fits every criterion', () => {
  const cases: readonly (readonly [CertificateSelection, string])[] = [
    [{ spiffeId: facts.spiffeId, holder: facts.holder }, 'yes'],
    [{ spiffeId: facts.spiffeId, holder: 'spiffe://mesh.test/other' }, 'no'],
    [{ spiffeIdPrefix: 'spiffe://mesh.test/shop/' }, 'yes'],
    [{ spiffeIdPrefix: 'spiffe://mesh.test/shop/web/' }, 'no'],
    [{ entryId: 'e1' }, 'no'],
    [{ delegationId: 'd1', publicKeySha256: facts.publicKeySha256, authorityId: 'a1' }, 'yes'],
    [{ issuedAfter: 10, issuedBefore: 10 }, 'yes'],
    [{ issuedAfter: 11 }, 'no'],
    [{ issuedBefore: 9 }, 'no'],
    [{ dnsName: '*.api.test' }, 'yes'],
    [{ dnsName: 'shop.test' }, 'no'],
    [owned(['shop.test']), 'yes'],
    [owned(['op.test']), 'no'],
    [owned([], ['spiffe://mesh.test/shop/']), 'yes'],
    [owned(['other.test'], ['spiffe://mesh.test/other/']), 'no'],
  ];
  const sold = { name: 'sold', dnsSuffixes: [], spiffePrefixes: [] };
  assert.equal(fitsSelection({ tenant: 'sold', owned: sold }, facts), 'yes');
  for (const [selection, expected] of cases)
    assert.equal(fitsSelection(selection, facts), expected, JSON.stringify(selection));
});

test('names that are not known decide only where they are asked for', () => {
  const unknown = { ...facts, dnsNames: undefined };
  assert.equal(fitsSelection({ holder: facts.holder }, unknown), 'yes');
  assert.equal(fitsSelection({ dnsName: 'web.shop.test' }, unknown), 'unknown');
  assert.equal(fitsSelection(owned(['shop.test']), unknown), 'unknown');
  assert.equal(fitsSelection({ ...owned(['shop.test']), holder: 'other' }, unknown), 'no');
  assert.equal(fitsSelection(owned([], ['spiffe://mesh.test/shop/']), unknown), 'yes');
});
