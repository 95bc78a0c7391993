import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  checkTenant,
  NameOwners,
  requireDisjoint,
  type NameOwner,
  type TenantInput,
} from '../../../src/domain/index.ts';

const td = 'spiffe://mesh.test';
const limits = {
  trustDomain: TrustDomain.of('mesh.test'),
  reservedDnsNames: ['ca.mesh.test', '*.linkerd.cluster.local'],
};
const shop: TenantInput = {
  name: 'shop',
  description: 'team shop, ask #shop',
  dnsSuffixes: ['shop.test'],
  spiffePrefixes: [`${td}/shop/`],
  quotaCertificates: 0,
  quotaSeconds: 0,
};
const codeOf = (input: Partial<TenantInput>): string => {
  try {
    checkTenant({ ...shop, ...input }, limits);
    return 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
};
const owner = (
  name: string,
  dnsSuffixes: readonly string[],
  spiffePrefixes: readonly string[] = [],
): NameOwner => ({
  name,
  dnsSuffixes,
  spiffePrefixes,
  quotaCertificates: 0,
  quotaSeconds: 0,
  state: 'active',
});
const namesOf = (owners: readonly NameOwner[]) => owners.map(({ name }) => name);

test('a tenant comes out with its names in lower case, sorted, each once', () => {
  const checked = checkTenant(
    { ...shop, dnsSuffixes: ['Shop.test', 'a.example.org', 'shop.test'] },
    limits,
  );
  assert.deepEqual(checked.dnsSuffixes, ['a.example.org', 'shop.test']);
});

test('a tenant owns no top-level domain, no name of the CA, and no ID of another trust domain', () => {
  for (const [code, input] of [
    ['ok', {}],
    ['ok', { dnsSuffixes: ['mesh.test'], spiffePrefixes: [] }],
    ['INVALID_REQUEST', { name: 'Shop' }],
    ['INVALID_REQUEST', { description: 'two\nlines' }],
    ['INVALID_REQUEST', { dnsSuffixes: [], spiffePrefixes: [] }],
    ['DNS_NAME_INVALID', { dnsSuffixes: ['test'] }],
    ['DNS_NAME_INVALID', { dnsSuffixes: ['.shop.test'] }],
    ['DNS_NAME_INVALID', { dnsSuffixes: ['*.shop.test'] }],
    ['DNS_NAME_RESERVED', { dnsSuffixes: ['ca.mesh.test'] }],
    ['DNS_NAME_RESERVED', { dnsSuffixes: ['identity.linkerd.cluster.local'] }],
    ['SPIFFE_ID_INVALID', { spiffePrefixes: [`${td}/`] }],
    ['SPIFFE_ID_INVALID', { spiffePrefixes: [`${td}/shop`] }],
    ['SPIFFE_ID_RESERVED', { spiffePrefixes: [`${td}/meshca/`] }],
    ['SPIFFE_ID_RESERVED', { spiffePrefixes: [`${td}/meshca/agent/`] }],
    ['TRUST_DOMAIN_FOREIGN', { spiffePrefixes: ['spiffe://other.test/shop/'] }],
    ['INVALID_REQUEST', { quotaCertificates: 10 }],
    ['INVALID_REQUEST', { quotaCertificates: -1, quotaSeconds: 3600 }],
    ['INVALID_REQUEST', { quotaCertificates: 1, quotaSeconds: 32 * 86_400 }],
    ['ok', { quotaCertificates: 1, quotaSeconds: 3600 }],
  ] as const)
    assert.equal(codeOf(input), code, JSON.stringify(input));
});

test('names of two tenants overlap if one is the other, or above or below it', () => {
  const others = new NameOwners([
    owner('a', ['a.example.org'], [`${td}/a/`]),
    owner('shop', ['shop.test']),
  ]);
  const against = (dnsSuffixes: readonly string[], spiffePrefixes: readonly string[] = []) =>
    others.overlapOf({ name: 'new', dnsSuffixes, spiffePrefixes })?.other;
  assert.equal(against(['a.example.org']), 'a.example.org');
  assert.equal(against(['example.org']), 'a.example.org');
  assert.equal(against(['x.a.example.org']), 'a.example.org');
  assert.equal(against(['xa.example.org'], [`${td}/ab/`]), undefined);
  assert.equal(against([], [`${td}/a/b/`]), `${td}/a/`);
  assert.equal(against([], [`${td}/`]), `${td}/a/`);
  assert.equal(against(['test']), 'shop.test');
  assert.equal(others.overlapOf({ ...shop, dnsSuffixes: ['www.shop.test'] }), undefined);
});

test('the refusal of an overlap names the other tenant to whoever may know it alone', () => {
  const others = new NameOwners([owner('secret', ['a.example.org'])]);
  const refused = (mayKnow: boolean): PkiError => {
    try {
      requireDisjoint({ ...shop, dnsSuffixes: ['example.org'] }, others, () => mayKnow);
    } catch (thrown) {
      assert.ok(thrown instanceof PkiError);
      return thrown;
    }
    throw new Error('it was taken');
  };
  assert.equal(refused(false).code, 'TENANT_OVERLAPS');
  assert.doesNotMatch(refused(false).message, /secret|a\.example/);
  assert.match(refused(true).message, /secret/);
  requireDisjoint({ ...shop, dnsSuffixes: ['b.example.org'] }, others);
});

test('owners that change one by one say the same as those that are made at once', () => {
  const name = (index: number): string => `${index % 7}.${index % 5}.example.org`;
  const tenants = Array.from({ length: 35 }, (_, index) =>
    owner(`t${index}`, [name(index)], [`${td}/t${index}/`]),
  );
  const changing = new NameOwners(tenants.slice(0, 20));
  for (const tenant of tenants) changing.put(tenant);
  for (const { name: gone } of tenants.slice(10)) changing.remove(gone);
  changing.put(owner('t3', ['new.test']));
  const once = new NameOwners([
    ...tenants.slice(0, 3),
    ...tenants.slice(4, 10),
    owner('t3', ['new.test']),
  ]);
  assert.deepEqual(namesOf(changing.all()).toSorted(), namesOf(once.all()).toSorted());
  for (let index = 0; index < 35; index += 1) {
    const dnsSuffixes = [`a.${name(index)}`, `${index % 5}.example.org`];
    for (const asked of dnsSuffixes) {
      assert.equal(changing.ofDnsName(asked)?.name, once.ofDnsName(asked)?.name);
      const reached = (owners: NameOwners) => namesOf(owners.reachedByDnsName(`*.${asked}`));
      assert.deepEqual(reached(changing).toSorted(), reached(once).toSorted());
    }
    const wanted = { name: 'new', dnsSuffixes, spiffePrefixes: [`${td}/t${index}/`] };
    assert.deepEqual(changing.overlapOf(wanted), once.overlapOf(wanted));
  }
  assert.deepEqual(namesOf(changing.reachedBySpiffePrefix(`${td}/`)).length, 9);
});

test('names that move between tenants have their new owner after every order of the changes', () => {
  const made = (name: string, label?: string): NameOwner =>
    label === undefined
      ? owner(name, [])
      : owner(name, [`${label}.example.org`], [`${td}/${label}/`]);
  const orders = <T>(all: readonly T[]): readonly (readonly T[])[] =>
    all.length < 2
      ? [all]
      : all.flatMap((first) =>
          orders(all.filter((each) => each !== first)).map((rest) => [first, ...rest]),
        );
  // round about, to nobody, and from one that is removed
  const before = [made('a', 'x'), made('b', 'y'), made('c', 'z'), made('d', 'v'), made('e', 'w')];
  const after = [made('a', 'y'), made('b', 'z'), made('c', 'x'), made('d', 'w')];
  const once = new NameOwners(after);
  const changes = [...after, 'e'];
  assert.equal(orders(changes).length, 120);
  for (const order of orders(changes)) {
    const owners = new NameOwners(before);
    for (const change of order)
      if (typeof change === 'string') owners.remove(change);
      else owners.put(change);
    const how = order.map((each) => (typeof each === 'string' ? each : each.name)).join(' ');
    for (const label of ['v', 'w', 'x', 'y', 'z']) {
      const name = `${label}.example.org`;
      const say = (said: NameOwners) => [
        said.ofDnsName(`www.${name}`)?.name,
        said.ofSpiffeId(`${td}/${label}/web`)?.name,
        said.overlapOf({ name: 'new', dnsSuffixes: [name], spiffePrefixes: [] }),
        said.overlapOf({ name: 'new', dnsSuffixes: [], spiffePrefixes: [`${td}/${label}/`] }),
      ];
      assert.deepEqual(say(owners), say(once), `${how}: ${label}`);
    }
    const above = { name: 'new', dnsSuffixes: ['example.org'], spiffePrefixes: [] };
    assert.deepEqual(owners.overlapOf(above), once.overlapOf(above), how);
    for (const each of [owners, once])
      assert.deepEqual(
        namesOf(each.reachedByDnsName('*.example.org')).toSorted(),
        ['a', 'b', 'c', 'd'],
        how,
      );
  }
});

test('a name belongs to the tenant of its suffix, a wildcard reaches suffixes one label below', () => {
  const owners = new NameOwners([
    owner('shop', ['shop.test'], [`${td}/shop/`]),
    owner('a', ['a.example.org'], [`${td}/ns/a/`]),
    owner('b', ['b.example.org']),
  ]);
  const dns = (name: string) => owners.ofDnsName(name)?.name;
  assert.deepEqual(
    ['shop.test', 'x.y.shop.test', '*.shop.test', 'xshop.test', 'test', 'example.org'].map(dns),
    ['shop', 'shop', 'shop', undefined, undefined, undefined],
  );
  assert.deepEqual(namesOf(owners.reachedByDnsName('*.example.org')), ['a', 'b']);
  assert.deepEqual(namesOf(owners.reachedByDnsName('example.org')), []);
  assert.deepEqual(namesOf(owners.reachedByDnsName('*.x.shop.test')), ['shop']);
});

test('a SPIFFE ID belongs to the tenant of its prefix, by whole segments', () => {
  const owners = new NameOwners([owner('a', [], [`${td}/ns/a/`])]);
  const id = (path: string) => owners.ofSpiffeId(`${td}${path}`)?.name;
  assert.deepEqual(['/ns/a/sa/x', '/ns/a', '/ns/ab/x', '/ns/a/b/c/d'].map(id), [
    'a',
    undefined,
    undefined,
    'a',
  ]);
  const below = (path: string) => namesOf(owners.reachedBySpiffePrefix(`${td}${path}`));
  assert.deepEqual(['/ns/', '/ns/a/', '/ns/a/b', '/ot'].map(below), [['a'], ['a'], ['a'], []]);
  assert.equal(NameOwners.none.ofSpiffeId(`${td}/ns/a/x`), undefined);
});

test('a lookup among thousands of tenants takes as many steps as the name has labels', () => {
  const tenants = Array.from({ length: 5000 }, (_, n) =>
    owner(`t${n}`, [`t${n}.example.org`], [`${td}/t${n}/`]),
  );
  const owners = new NameOwners(tenants);
  assert.equal(owners.size, 5000);
  for (let n = 0; n < 5000; n += 1) {
    assert.equal(owners.ofDnsName(`a.b.c.t${n}.example.org`)?.name, `t${n}`);
    assert.equal(owners.ofSpiffeId(`${td}/t${n}/a/b/c`)?.name, `t${n}`);
  }
});
