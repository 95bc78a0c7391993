import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  NameOwners,
  tenantOfNames,
  type NameOwner,
  type NamesAsk,
} from '../../../src/domain/index.ts';

const td = 'spiffe://mesh.test';
const owner = (name: string, more: Partial<NameOwner> = {}): NameOwner => ({
  name,
  dnsSuffixes: [`${name}.test`, `${name}.example.org`],
  spiffePrefixes: [`${td}/${name}/`],
  quotaCertificates: 0,
  quotaSeconds: 0,
  state: 'active',
  ...more,
});
const owners = new NameOwners([owner('a'), owner('b'), owner('gone', { state: 'ended' })]);
const judged = (ask: NamesAsk): string => {
  const result = tenantOfNames(owners, ask);
  return result.ok ? (result.value?.name ?? 'nobody') : result.error.code;
};
const byId = (path: string) => ({ by: 'spiffe-id', id: `${td}${path}` }) as const;

test('an SVID has DNS names of the tenant of its SPIFFE ID, and of nobody', () => {
  for (const [expected, path, dnsNames] of [
    ['a', '/a/web', ['www.a.test', 'free.test']],
    ['nobody', '/web', ['free.test']],
    ['NAME_OF_OTHER_TENANT', '/web', ['www.a.test']],
    ['NAME_OF_OTHER_TENANT', '/b/web', ['b.test', 'www.a.test']],
    ['TENANT_ENDED', '/gone/web', []],
  ] as const)
    assert.equal(judged({ spiffeId: `${td}${path}`, dnsNames }), expected, path);
});

test('names alone are of the tenant of whoever asks', () => {
  for (const [expected, ask] of [
    ['a', { dnsNames: ['www.a.test'], claim: byId('/a/web') }],
    ['a', { dnsNames: ['www.a.test'], claim: { by: 'tenant', name: 'a' } }],
    ['a', { dnsNames: ['www.a.test'], claim: { by: 'operator' } }],
    ['a', { dnsNames: ['free.test', '*.a.test'], claim: { by: 'operator' } }],
    ['nobody', { dnsNames: ['free.test'], claim: { by: 'operator' } }],
    ['NAME_OF_OTHER_TENANT', { dnsNames: ['www.a.test'] }],
    ['NAME_OF_OTHER_TENANT', { dnsNames: ['www.a.test'], claim: byId('/web') }],
    ['NAME_OF_OTHER_TENANT', { dnsNames: ['www.a.test'], claim: byId('/b/web') }],
    ['NAME_OF_OTHER_TENANT', { dnsNames: ['a.test', 'b.test'], claim: { by: 'operator' } }],
    ['TENANT_ENDED', { dnsNames: ['www.gone.test'], claim: { by: 'operator' } }],
    ['TENANT_ENDED', { dnsNames: ['free.test'], claim: byId('/gone/web') }],
    ['TENANT_ENDED', { dnsNames: ['free.test'], claim: { by: 'tenant', name: 'deleted' } }],
    ['NAME_OF_OTHER_TENANT', { dnsNames: ['b.test'], claim: { by: 'tenant', name: 'a' } }],
    ['NAME_OF_OTHER_TENANT', { dnsNames: ['free.test'], claim: { by: 'tenant', name: 'a' } }],
    [
      'NAME_OF_OTHER_TENANT',
      { dnsNames: ['a.test', '*.free.test'], claim: { by: 'tenant', name: 'a' } },
    ],
  ] as const)
    assert.equal(judged(ask), expected, JSON.stringify(ask));
});

test('a wildcard above the suffixes of tenants stands for their names, and is refused', () => {
  assert.equal(
    judged({ dnsNames: ['*.example.org'], claim: { by: 'operator' } }),
    'NAME_OF_OTHER_TENANT',
  );
  assert.equal(
    judged({ dnsNames: ['*.example.org'], claim: byId('/web') }),
    'NAME_OF_OTHER_TENANT',
  );
});

test('the client of one tenant gets no SPIFFE ID of another, and one of nobody does', () => {
  const spiffeId = `${td}/a/web`;
  assert.equal(judged({ spiffeId, dnsNames: [], claim: byId('/b/plane') }), 'NAME_OF_OTHER_TENANT');
  assert.equal(judged({ spiffeId, dnsNames: ['a.test'], claim: byId('/plane') }), 'a');
  assert.equal(judged({ spiffeId, dnsNames: ['a.test'], claim: byId('/a/plane') }), 'a');
});

test('the refusal names what was asked for, and no other tenant', () => {
  const refused = tenantOfNames(owners, { dnsNames: ['www.a.test'], claim: byId('/b/web') });
  assert.ok(!refused.ok);
  assert.match(refused.error.message, /www\.a\.test/);
  assert.doesNotMatch(refused.error.message, /tenant a\b/);
});
