import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { createCsr, keyTypes } from '../../../../src/common/x509/index.ts';
import type { AdminCaller } from '../../../../src/services/index.ts';
import {
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
  selector,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const csrDer = createCsr(newKey());
const page = { size: 100 };
const tenant = (name: string) => ({
  ...{ name, description: '', dnsSuffixes: [`${name}.test`], spiffePrefixes: [id(`/${name}/`)] },
  ...{ quotaCertificates: 0, quotaSeconds: 0 },
});
const eabKey = (of: string, pattern: string, ipRanges: readonly string[] = []) => ({
  ...{ tenant: of, description: '', dnsPatterns: [pattern], ipRanges, wildcards: false },
  ...{ profiles: ['short'], ttlSeconds: 0, keyTypes, proof: '', challengeTypes: [] },
  ...{ accounts: '', quotaCertificates: 0, quotaSeconds: 0, expiresAt: 0 },
});
const delegation = (clientId: string, patterns: readonly string[], dns: readonly string[]) => ({
  ...{ clientId, patterns, dnsPatterns: dns, maxTtlSeconds: 600, keyTypes: [], ipRanges: [] },
  ...{ wildcards: false, profile: '', expiresAt: 0 },
});
const names = (...dnsNames: string[]) => ({
  ...{ dnsNames, ips: [], csrDer, profile: 'short', ttlSeconds: 0, requestId: '' },
});

const ofTenant = (name: string) => ({
  ...{ selection: { tenant: name }, reason: 'superseded', actId: '' },
});

/** Two tenants with an entry, a certificate, a delegation and an EAB key each, and who owns all of the first. */
async function world() {
  const w = await createServicesWorld({ revocable: true });
  const { caller: node } = await w.joinAgent('n1');
  for (const name of ['shop', 'bank'])
    await w.services.tenants.create(local, tenant(name), { dryRun: false });
  const of = async (name: string) => {
    const entry = await w.addEntry({ spiffeId: id(`/${name}/web`), parentId: node.spiffeId });
    const certificate = await w.mint(`/${name}/api`, false);
    const delegated = await w.services.delegations.create(
      local,
      delegation(id(`/${name}/plane`), [id(`/${name}/**`)], []),
    );
    const { key } = await w.services.eabKeys.create(local, eabKey(name, `*.${name}.test`));
    return { entry, serial: certificate.serial, delegation: delegated.id, key: key.id };
  };
  const shop = await of('shop');
  const bank = await of('bank');
  const admin = (await w.mint('/ops/ada', true)) as AdminCaller;
  await w.services.roles.put(local, {
    ...{ name: 'shop-ops', verbs: ['*'], prefixes: ['tenant:shop'], members: [admin.spiffeId] },
  });
  return { w, node, shop, bank, admin };
}

/** `ok`, or the code; of a list that says each item for itself, that of the first. */
async function outcome(act: Promise<unknown>): Promise<string> {
  try {
    const value = await act;
    const [first] = Array.isArray(value) ? (value as readonly unknown[]) : [];
    const failed = first as { readonly ok?: boolean; readonly error?: PkiError } | undefined;
    return failed?.ok === false ? (failed.error?.code ?? 'failed') : 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
}

type World = Awaited<ReturnType<typeof world>>;
type Attack = readonly [
  what: string,
  codes: readonly string[],
  act: (s: ServicesWorld['services'], admin: AdminCaller, world: World) => Promise<unknown>,
];

const attacks: readonly Attack[] = [
  ['tenant show', ['NOT_FOUND'], (s, a) => s.tenants.get(a, 'bank')],
  ['tenant end --dry-run', ['NOT_FOUND'], (s, a) => s.tenants.previewEnd(a, 'bank')],
  ['tenant end', ['NOT_FOUND'], (s, a) => s.tenants.end(a, 'bank', 'x')],
  ['tenant delete', ['ROLE_MISSING'], (s, a) => s.tenants.delete(a, 'bank', 'x')],
  [
    'tenant create',
    ['ROLE_MISSING'],
    (s, a) => s.tenants.create(a, tenant('mine'), { dryRun: true }),
  ],
  [
    'tenant update, to take its names',
    ['ROLE_MISSING'],
    (s, a) =>
      s.tenants.update(
        a,
        { ...tenant('shop'), dnsSuffixes: ['bank.test'] },
        { version: 0, dryRun: true },
      ),
  ],
  [
    'entry create',
    ['ROLE_MISSING'],
    (s, a, { node }) =>
      s.entries.create(a, [entryInput({ spiffeId: id('/bank/x'), parentId: node.spiffeId })]),
  ],
  [
    'entry create with its name',
    ['NAME_OF_OTHER_TENANT', 'ROLE_MISSING'],
    (s, a, { node }) =>
      s.entries.create(a, [
        entryInput({
          ...{ spiffeId: id('/shop/x'), parentId: node.spiffeId, dnsNames: ['a.bank.test'] },
        }),
      ]),
  ],
  [
    'entry create of names with its address',
    ['ROLE_MISSING'],
    (s, a, { node }) =>
      s.entries.create(a, [
        entryInput({
          ...{ spiffeId: id('/shop/lb'), parentId: node.spiffeId, ips: ['192.0.2.1'] },
          ...{ profile: 'short', selectors: [selector('target:name:lb')] },
        }),
      ]),
  ],
  [
    'entry update to its ID',
    ['ROLE_MISSING'],
    (s, a, { shop, node }) =>
      s.entries.update(
        a,
        entryInput({ id: shop.entry, spiffeId: id('/bank/y'), parentId: node.spiffeId }),
        0,
      ),
  ],
  [
    'entry update of its entry',
    ['NOT_FOUND', 'ROLE_MISSING'],
    (s, a, { bank, node }) =>
      s.entries.update(
        a,
        entryInput({ id: bank.entry, spiffeId: id('/shop/y'), parentId: node.spiffeId }),
        0,
      ),
  ],
  ['entry show', ['NOT_FOUND', 'ROLE_MISSING'], (s, a, { bank }) => s.entries.get(a, bank.entry)],
  [
    'entry delete',
    ['NOT_FOUND', 'ROLE_MISSING'],
    (s, a, { bank }) => s.entries.delete(a, [bank.entry]),
  ],
  [
    'delegation create',
    ['ROLE_MISSING'],
    (s, a) => s.delegations.create(a, delegation(id('/shop/plane'), [id('/bank/**')], [])),
  ],
  [
    'delegation create for all',
    ['ROLE_MISSING'],
    (s, a) => s.delegations.create(a, delegation(id('/shop/plane'), [id('/**')], [])),
  ],
  [
    'delegation create with its names',
    ['ROLE_MISSING', 'NAME_OF_OTHER_TENANT'],
    (s, a) =>
      s.delegations.create(a, delegation(id('/shop/plane'), [id('/shop/**')], ['*.bank.test'])),
  ],
  [
    'delegation delete',
    ['NOT_FOUND', 'ROLE_MISSING'],
    (s, a, { bank }) => s.delegations.revoke(a, bank.delegation, 'x'),
  ],
  ['certificate issue', ['ROLE_MISSING'], (s, a) => s.names.issue(a, names('a.bank.test'))],
  [
    'certificate issue beside its own',
    ['ROLE_MISSING'],
    (s, a) => s.names.issue(a, names('a.shop.test', 'a.bank.test')),
  ],
  [
    'certificate issue of its wildcard',
    ['ROLE_MISSING'],
    (s, a) => s.names.issue(a, names('*.bank.test')),
  ],
  ['certificate show', ['NOT_FOUND'], (s, a, { bank }) => s.certificates.get(a, bank.serial)],
  [
    'certificate revoke',
    ['NOT_FOUND'],
    (s, a, { bank }) =>
      s.revocations.revoke(a, { serial: bank.serial, reason: 'superseded', blockKeys: undefined }),
  ],
  ['acme key create', ['NOT_FOUND'], (s, a) => s.eabKeys.create(a, eabKey('bank', '*.bank.test'))],
  [
    'acme key create with its own names',
    ['NOT_FOUND'],
    (s, a) => s.eabKeys.create(a, eabKey('bank', '*.shop.test')),
  ],
  [
    'acme key create with no name',
    ['NOT_FOUND'],
    (s, a) => s.eabKeys.create(a, { ...eabKey('bank', ''), dnsPatterns: [] }),
  ],
  [
    'certificate list',
    ['NOT_FOUND'],
    (s, a) => s.certificates.list(a, { tenant: 'bank' }, 'created', page),
  ],
  [
    'certificate revoke of all its names',
    ['NOT_FOUND'],
    (s, a) => s.selections.revoke(a, ofTenant('bank')),
  ],
  [
    'certificate revoke of all its names --dry-run',
    ['NOT_FOUND'],
    (s, a) => s.selections.preview(a, ofTenant('bank')),
  ],
  [
    'acme key create with its names',
    ['PATTERN_INVALID'],
    (s, a) => s.eabKeys.create(a, eabKey('shop', '*.bank.test')),
  ],
  [
    'acme key create with addresses',
    ['ROLE_MISSING'],
    (s, a) => s.eabKeys.create(a, eabKey('shop', '*.shop.test', ['192.0.2.0/24'])),
  ],
  ['acme key show', ['NOT_FOUND'], (s, a, { bank }) => s.eabKeys.get(a, bank.key)],
  ['acme key secret', ['NOT_FOUND'], (s, a, { bank }) => s.eabKeys.secret(a, bank.key)],
  ['acme key revoke', ['NOT_FOUND'], (s, a, { bank }) => s.eabKeys.revoke(a, bank.key, 'x')],
  ['role list', ['ROLE_MISSING'], (s, a) => s.roles.list(a, page)],
  [
    'role set, to give itself the other tenant',
    ['ROLE_MISSING'],
    (s, a) =>
      s.roles.put(a, {
        ...{ name: 'more', verbs: ['*'], prefixes: ['tenant:bank'], members: [a.spiffeId] },
      }),
  ],
];

test('who has every verb on one tenant neither acts on another one nor learns that it exists', async (t) => {
  const all = await world();
  const { w, admin, bank, shop } = all;
  t.after(() => w[Symbol.asyncDispose]());
  for (const [what, codes, act] of attacks) {
    const code = await outcome(act(w.services, admin, all));
    assert.ok(codes.includes(code), `${what}: ${code}`);
  }
  const { services } = w;
  const seen = JSON.stringify([
    await services.tenants.list(admin, { includeEnded: true }, page),
    await services.entries.list(admin, {}, page),
    await services.delegations.list(admin, { includeRevoked: true }, page),
    (await services.certificates.list(admin, {}, 'created', page)).items.map(
      ({ serial, spiffeId }) => [serial, spiffeId],
    ),
    await services.eabKeys.list(admin, { tenant: 'bank', includeEnded: true }, page),
    await services.eabKeys.list(admin, { tenant: '', includeEnded: true }, page),
  ]);
  assert.doesNotMatch(seen, /bank/);
  for (const own of [shop.entry, shop.serial, shop.delegation, shop.key])
    assert.ok(seen.includes(own));
  assert.equal(
    await outcome(services.eabKeys.secret(local, bank.key)),
    'ok',
    'nothing has changed',
  );
});

test('a tenant of others is answered like one that is not there', async (t) => {
  const { w, admin } = await world();
  t.after(() => w[Symbol.asyncDispose]());
  const { services } = w;
  const said = async (name: string): Promise<readonly string[]> => {
    const acts: readonly (() => Promise<unknown>)[] = [
      () => services.tenants.get(admin, name),
      () => services.certificates.list(admin, { tenant: name }, 'created', page),
      () => services.selections.preview(admin, ofTenant(name)),
      () => services.selections.revoke(admin, ofTenant(name)),
      () => services.eabKeys.create(admin, eabKey(name, `*.${name}.test`)),
      () => services.eabKeys.create(admin, eabKey(name, '*.shop.test')),
      () => services.eabKeys.create(admin, eabKey(name, '*.shop.test', ['192.0.2.0/24'])),
      () => services.eabKeys.list(admin, { tenant: name, includeEnded: true }, page),
    ];
    const answers = acts.map((act) =>
      act().then(
        (value) => JSON.stringify(value),
        (thrown: unknown) => {
          const { code, message, next } = PkiError.from(thrown);
          return `${code} ${message} ${next}`.replaceAll(name, 'NAME');
        },
      ),
    );
    return Promise.all(answers);
  };
  assert.deepEqual(await said('bank'), await said('none'));
  // by one verb on it
  await services.roles.put(local, {
    ...{ name: 'bank-readers', verbs: ['certificate.read'], prefixes: ['tenant:bank'] },
    members: [admin.spiffeId],
  });
  const { items } = await services.certificates.list(admin, { tenant: 'bank' }, 'created', page);
  assert.ok(items.length > 0);
  assert.equal(
    await outcome(services.eabKeys.create(admin, eabKey('bank', '*.bank.test'))),
    'ROLE_MISSING',
  );
  // by a role over its names alone
  await services.roles.put(local, {
    ...{ name: 'bank-readers', verbs: ['acme.write'], prefixes: ['dns:.bank.test'] },
    members: [admin.spiffeId],
  });
  assert.equal(await outcome(services.eabKeys.create(admin, eabKey('bank', '*.bank.test'))), 'ok');
});
