import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FederationRelationship, ForeignBundle } from '../../../src/domain/index.ts';
import type { LedgerFederation } from '../../../src/ledger/index.ts';
import { by, code, creates, digest, draft, event, start, type OpenStore } from './fixtures.ts';

const relationship = (changes: Partial<FederationRelationship> = {}): FederationRelationship => ({
  trustDomain: 'partner.test',
  id: 'first',
  endpointUrl: 'https://partner.test/',
  endpointProfile: 'https_spiffe',
  endpointSpiffeId: 'spiffe://partner.test/server',
  webRoots: ['MII='],
  createdAt: start,
  createdBy: 'uid:0',
  ...changes,
});
const bundle = (changes: Partial<ForeignBundle> = {}): ForeignBundle => ({
  trustDomain: 'partner.test',
  relationshipId: 'first',
  sequence: 1,
  refreshHintSeconds: 60,
  roots: ['MII='],
  jwtKeys: [{ keyId: 'k', spki: 'MFk=' }],
  documentSha256: digest(),
  receivedAt: start,
  ...changes,
});
const events = {
  limit: 2,
  event: event('federation.created'),
  accepted: event('federation.bundle-accepted'),
};
const ended = {
  event: event('federation.deleted'),
  withdrawn: event('federation.bundle-withdrawn'),
};

const inForce = async (federation: LedgerFederation) =>
  (await federation.all()).map(({ relationship: made, bundle: held }) => ({
    relationship: made,
    bundle: held,
  }));

/** Relationships with foreign trust domains, and their bundles. */
export function federationCases(name: string, open: OpenStore): void {
  test(`${name}: a relationship is created once, up to the limit, with what an operator brought`, async () => {
    await using opened = await open();
    const { federation } = opened.store;
    const brought = bundle();
    await federation.create(relationship(), brought, events);
    await assert.rejects(
      federation.create(relationship({ id: 'other' }), undefined, events),
      code('ALREADY_EXISTS'),
    );
    await federation.create(relationship({ trustDomain: 'a.test' }), undefined, events);
    await assert.rejects(
      federation.create(relationship({ trustDomain: 'c.test' }), undefined, events),
      code('CONFLICT'),
    );
    assert.deepEqual(await inForce(federation), [
      { relationship: relationship({ trustDomain: 'a.test' }), bundle: undefined },
      { relationship: relationship(), bundle: brought },
    ]);
  });

  test(`${name}: a bundle replaces the one that it was compared with, and no other`, async () => {
    await using opened = await open();
    const { federation, audit } = opened.store;
    await federation.create(relationship(), undefined, events);
    const [first, second] = [bundle(), bundle({ sequence: 2 })];
    await federation.accept(first, undefined, events.accepted);
    await assert.rejects(federation.accept(second, undefined, events.accepted), code('CONFLICT'));
    await assert.rejects(federation.accept(second, bundle(), events.accepted), code('CONFLICT'));
    await federation.accept(second, first, events.accepted);
    assert.deepEqual(await inForce(federation), [{ relationship: relationship(), bundle: second }]);
    const { items } = await audit.list({ kind: 'federation.bundle-accepted' }, { size: 10 });
    assert.equal(items.length, 2);
  });

  test(`${name}: a deletion takes the bundle too, and nothing is accepted for what is gone`, async () => {
    await using opened = await open();
    const { federation, audit } = opened.store;
    await assert.rejects(federation.delete('partner.test', ended), code('NOT_FOUND'));
    await federation.create(relationship(), bundle(), events);
    await federation.delete('partner.test', ended);
    assert.deepEqual(await federation.all(), []);
    const { items } = await audit.list({ kind: 'federation.bundle-withdrawn' }, { size: 10 });
    assert.equal(items.length, 1);
    const accept = federation.accept(bundle(), undefined, events.accepted);
    await assert.rejects(accept, code('NOT_FOUND'));
    await federation.create(relationship({ id: 'second' }), undefined, events);
    const late = federation.accept(bundle(), undefined, events.accepted);
    await assert.rejects(late, code('NOT_FOUND'), 'it is of the relationship before');
  });

  test(`${name}: entries that name a foreign trust domain are found by their parents`, async () => {
    await using opened = await open();
    const { entries } = opened.store;
    const naming = { ...draft(), federatesWith: ['partner.test'] };
    await entries.write([creates(naming), creates(draft({}, ['unix:uid:7']))], by);
    const { items, next } = await entries.federating([naming.parentId], { size: 10 });
    assert.deepEqual([items.map(({ id }) => id), next], [[naming.id], undefined]);
    assert.deepEqual((await entries.federating(['spiffe://x/y'], { size: 10 })).items, []);
  });
}
