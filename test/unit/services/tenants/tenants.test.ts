import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { TenantInput } from '../../../../src/domain/index.ts';
import type {
  AdminCaller,
  AgentCaller,
  DelegateCaller,
  OperatorCaller,
} from '../../../../src/services/index.ts';
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
const tenant = (name: string, more: Partial<TenantInput> = {}): TenantInput => ({
  name,
  description: `team ${name}`,
  dnsSuffixes: [`${name}.test`],
  spiffePrefixes: [id(`/${name}/`)],
  quotaCertificates: 0,
  quotaSeconds: 0,
  ...more,
});
const anyVersion = { version: 0, dryRun: false };
const codeOf = async (act: Promise<unknown>): Promise<string> => {
  try {
    await act;
    return 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
};
const create = (w: ServicesWorld, input: TenantInput, caller: OperatorCaller = local) =>
  w.services.tenants.create(caller, input, { dryRun: false });

async function signed(w: ServicesWorld, caller: AgentCaller, entryId: string): Promise<string> {
  const item = { requestId: uuidv7(), entryId, csrDer, ttlSeconds: 0, replacesSerial: '' };
  const [outcome] = await w.services.svids.signX509(caller, [{ ...item, selectors: [] }]);
  return outcome?.ok === true ? 'ok' : (outcome?.error.code ?? 'none');
}
const issue = (w: ServicesWorld, caller: OperatorCaller, ...dnsNames: string[]) =>
  w.services.names.issue(caller, {
    ...{ dnsNames, ips: [], csrDer, profile: 'short', ttlSeconds: 0, requestId: '' },
  });

/** An admin with one role. */
async function adminOf(
  w: ServicesWorld,
  name: string,
  role: { readonly verbs: readonly string[]; readonly prefixes: readonly string[] },
): Promise<AdminCaller> {
  const caller = (await w.mint(`/ops/${name}`, true)) as AdminCaller;
  await w.services.roles.put(local, { name, ...role, members: [caller.spiffeId] });
  return caller;
}

test('names of a tenant are refused to entries, delegations and operators of others, by each way', async () => {
  await using w = await createServicesWorld();
  const { caller: node } = await w.joinAgent('n1');
  const own = await w.addEntry({
    ...{ spiffeId: id('/shop/web'), parentId: node.spiffeId, dnsNames: ['www.shop.test'] },
  });
  const older = await w.addEntry({
    ...{ spiffeId: id('/web'), parentId: node.spiffeId, dnsNames: ['api.shop.test'] },
  });
  const olderNames = await w.addEntry({
    ...{ spiffeId: id('/proxy'), parentId: node.spiffeId, dnsNames: ['lb.shop.test'] },
    ...{ profile: 'short', selectors: [selector('target:name:lb')] },
  });
  const other = await adminOf(w, 'dns', {
    verbs: ['certificate.issue'],
    prefixes: ['dns:.shop.test'],
  });
  assert.equal(await codeOf(issue(w, other, 'a.shop.test')), 'ok', 'before there is a tenant');
  await create(w, tenant('shop'));

  assert.equal(await signed(w, node, own), 'ok');
  assert.equal(await signed(w, node, older), 'NAME_OF_OTHER_TENANT');
  assert.equal(await signed(w, node, olderNames), 'NAME_OF_OTHER_TENANT');
  assert.equal(await codeOf(issue(w, other, 'b.shop.test')), 'NAME_OF_OTHER_TENANT');
  const [created] = await w.services.entries.create(local, [
    entryInput({ spiffeId: id('/x'), parentId: node.spiffeId, dnsNames: ['x.shop.test'] }),
  ]);
  assert.equal(created?.ok === false && created.error.code, 'NAME_OF_OTHER_TENANT');
  const olderInput = { spiffeId: id('/web'), parentId: node.spiffeId, id: older };
  const changed = (hint: string, ...dnsNames: string[]) =>
    codeOf(w.services.entries.update(local, entryInput({ ...olderInput, hint, dnsNames }), 0));
  assert.equal(await changed('x', 'api.shop.test'), 'ok', 'its names are refused at issuance');
  assert.equal(await changed('x', 'api.shop.test', 'b.shop.test'), 'NAME_OF_OTHER_TENANT');
  assert.equal(await signed(w, node, older), 'NAME_OF_OTHER_TENANT');
  const delegation = {
    ...{ clientId: id('/plane'), patterns: [id('/free/*')], maxTtlSeconds: 600, keyTypes: [] },
    ...{ dnsPatterns: ['*.shop.test'], ipRanges: [], wildcards: false, profile: '', expiresAt: 0 },
  };
  assert.equal(
    await codeOf(w.services.delegations.create(local, delegation)),
    'NAME_OF_OTHER_TENANT',
  );
  const minted = { csrDer, ttlSeconds: 0, admin: false, requestId: '' };
  const mint = (path: string, ...dnsNames: string[]) =>
    codeOf(w.services.mint.mint(local, { spiffeId: id(path), dnsNames, ...minted }));
  assert.equal(await mint('/free/x', 'm.shop.test'), 'NAME_OF_OTHER_TENANT');
  assert.equal(await mint('/shop/x', 'm.shop.test'), 'ok');
  const [refusal] = (await w.audit('certificate.refused')).slice(-1);
  assert.match(String(refusal?.canonical), /NAME_OF_OTHER_TENANT/);
});

test('a control plane of nobody signs for tenants by SPIFFE ID, and one of a tenant for no other', async () => {
  await using w = await createServicesWorld();
  await create(w, tenant('shop'));
  await create(w, tenant('bank'));
  const delegate = async (path: string, over: object): Promise<DelegateCaller> => {
    await w.services.delegations.create(local, {
      ...{ clientId: id(path), patterns: [id('/*/*')], maxTtlSeconds: 600, keyTypes: [] },
      ...{ dnsPatterns: ['*.shop.test', '*.bank.test'], ipRanges: [], wildcards: false },
      ...{ profile: '', expiresAt: 0, ...over },
    });
    return (await w.mint(path, false)) as DelegateCaller;
  };
  const sign = async (caller: DelegateCaller, spiffeId: string, ...dnsNames: string[]) => {
    const item = { requestId: uuidv7(), spiffeId, dnsNames, ips: [], profile: '', csrDer };
    const { outcomes } = await w.services.signing.sign(caller, [{ ...item, ttlSeconds: 0 }]);
    const [outcome] = outcomes;
    return outcome?.ok === true ? 'ok' : (outcome?.error.code ?? 'none');
  };
  const platform = await delegate('/platform', {});
  assert.equal(await sign(platform, id('/shop/a'), 'a.shop.test'), 'ok');
  assert.equal(await sign(platform, id('/bank/a'), 'a.shop.test'), 'NAME_OF_OTHER_TENANT');
  const ofShop = await delegate('/shop/plane', {});
  assert.equal(await sign(ofShop, id('/shop/a'), 'a.shop.test'), 'ok');
  assert.equal(await sign(ofShop, id('/bank/a')), 'NAME_OF_OTHER_TENANT');
  const names = { patterns: [], dnsPatterns: ['*.shop.test', '*.test'], profile: 'short' };
  assert.equal(
    await codeOf(delegate('/plane', { ...names, maxTtlSeconds: 3600 })),
    'NAME_OF_OTHER_TENANT',
  );
  const proxies = await delegate('/shop/proxies', { ...names, maxTtlSeconds: 3600 });
  assert.equal(await sign(proxies, '', 'p.shop.test'), 'ok');
  assert.equal(await sign(proxies, '', 'bank.test'), 'NAME_OF_OTHER_TENANT');
});

test('roles of a tenant cover its IDs and names as they are at the time of the check', async () => {
  await using w = await createServicesWorld();
  await create(w, tenant('shop'));
  const admin = await adminOf(w, 'shop-ops', {
    verbs: ['entry.*', 'delegation.*', 'certificate.issue', 'tenant.read', 'tenant.write'],
    prefixes: ['tenant:shop'],
  });
  const { caller: node } = await w.joinAgent('n1');
  const entry = async (path: string, ...dnsNames: string[]): Promise<string> => {
    const [created] = await w.services.entries.create(admin, [
      entryInput({ spiffeId: id(path), parentId: node.spiffeId, dnsNames }),
    ]);
    return created?.ok === true ? 'ok' : (created?.error.code ?? 'none');
  };
  assert.equal(await entry('/shop/web', 'www.shop.test'), 'ok');
  assert.equal(await entry('/shop/free', 'free.test'), 'ROLE_MISSING');
  assert.equal(await entry('/bank/web'), 'ROLE_MISSING');
  assert.equal(await codeOf(issue(w, admin, 'a.shop.test', 'shop.test')), 'ok');
  assert.equal(await codeOf(issue(w, admin, 'bank.test')), 'ROLE_MISSING');
  const delegation = {
    ...{ clientId: id('/shop/plane'), patterns: [id('/shop/**')], maxTtlSeconds: 600 },
    ...{ keyTypes: [], ipRanges: [], wildcards: false, profile: '', expiresAt: 0 },
  };
  const delegates = (dnsPattern: string) =>
    codeOf(w.services.delegations.create(admin, { ...delegation, dnsPatterns: [dnsPattern] }));
  assert.equal(await delegates('*.shop.test'), 'ok');
  assert.equal(await delegates('*.bank.test'), 'ROLE_MISSING');

  assert.equal(await codeOf(create(w, tenant('mine'), admin)), 'ROLE_MISSING');
  assert.equal(await codeOf(w.services.tenants.get(admin, 'shop')), 'ok');
  await create(w, tenant('bank'));
  assert.equal(await codeOf(w.services.tenants.get(admin, 'bank')), 'NOT_FOUND');
  const { items } = await w.services.tenants.list(admin, { includeEnded: true }, { size: 10 });
  assert.deepEqual(
    items.map(({ tenant: { name } }) => name),
    ['shop'],
  );
  const moved = tenant('shop', { dnsSuffixes: ['new.test'] });
  await w.services.tenants.update(local, moved, { version: 0, dryRun: false });
  assert.equal(await codeOf(issue(w, admin, 'a.shop.test')), 'ROLE_MISSING');
  assert.equal(await codeOf(issue(w, admin, 'a.new.test')), 'ok');
});

test('a dry run says which entries, delegations and roles collide, and writes nothing', async () => {
  await using w = await createServicesWorld();
  const { caller: node } = await w.joinAgent('n1');
  const older = await w.addEntry({
    ...{ spiffeId: id('/web'), parentId: node.spiffeId, dnsNames: ['api.shop.test'] },
  });
  await w.addEntry({
    ...{ spiffeId: id('/shop/web'), parentId: node.spiffeId, dnsNames: ['www.shop.test'] },
  });
  await adminOf(w, 'dns', { verbs: ['certificate.issue'], prefixes: ['dns:.shop.test'] });
  const { collisions } = await w.services.tenants.create(local, tenant('shop'), { dryRun: true });
  assert.deepEqual(
    collisions.map(({ kind, id: collided }) => [kind, collided]),
    [
      ['entry', older],
      ['role', 'dns'],
    ],
  );
  assert.equal(await signed(w, node, older), 'ok');
  assert.equal(await codeOf(w.services.tenants.get(local, 'shop')), 'NOT_FOUND');
});

test('two tenants never share a name, and one that overlaps is named to who may know it', async () => {
  await using w = await createServicesWorld();
  await create(w, tenant('shop'));
  for (const dnsSuffixes of [['shop.test'], ['a.shop.test']])
    assert.equal(await codeOf(create(w, tenant('x', { dnsSuffixes }))), 'TENANT_OVERLAPS');
  assert.equal(
    await codeOf(create(w, tenant('x', { spiffePrefixes: [id('/shop/a/')] }))),
    'TENANT_OVERLAPS',
  );
  assert.equal(await codeOf(create(w, tenant('shop'))), 'ALREADY_EXISTS');
  assert.equal(await codeOf(create(w, tenant('x', { dnsSuffixes: ['xshop.test'] }))), 'ok');
});

test('the quota of a tenant counts every way of issuing, and the refusal says when a place is free', async () => {
  await using w = await createServicesWorld();
  const { caller: node } = await w.joinAgent('n1');
  const entry = await w.addEntry({ spiffeId: id('/shop/web'), parentId: node.spiffeId });
  await create(w, tenant('shop', { quotaCertificates: 2, quotaSeconds: 3600 }));
  assert.equal(await signed(w, node, entry), 'ok');
  assert.equal(await codeOf(issue(w, local, 'a.shop.test')), 'ok');
  assert.equal(await signed(w, node, entry), 'TENANT_QUOTA_USED');
  assert.equal(await codeOf(issue(w, local, 'b.shop.test')), 'TENANT_QUOTA_USED');
  const { view } = await w.services.tenants.get(local, 'shop');
  assert.deepEqual([view.quotaUsed, view.nextFreeAt], [2, w.clock.now() + 3600]);
  w.clock.advance(3_600_000);
  assert.equal(await codeOf(issue(w, local, 'b.shop.test')), 'ok');
  assert.equal(await codeOf(issue(w, local, 'free.test')), 'ok');
});

test('a tenant that ends between the decision and the release has its certificate withheld', async () => {
  await using w = await createServicesWorld();
  const { caller: node } = await w.joinAgent('n1');
  const entry = await w.addEntry({ spiffeId: id('/shop/web'), parentId: node.spiffeId });
  await create(w, tenant('shop'));
  w.beforeSigning(async () => void (await w.services.tenants.end(local, 'shop', 'offboarded')));
  assert.equal(await signed(w, node, entry), 'TENANT_ENDED');
  const [withheld] = await w.audit('certificate.withheld');
  assert.match(String(withheld?.canonical), /TENANT_ENDED/);
});

test('an ended tenant gets nothing, its certificates are revoked, and deleted it frees its names', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const { caller: node } = await w.joinAgent('n1');
  const parentId = node.spiffeId;
  const entry = await w.addEntry({ spiffeId: id('/shop/web'), parentId, profile: 'revocable' });
  const free = await w.addEntry({ spiffeId: id('/web'), parentId, profile: 'revocable' });
  await create(w, tenant('shop'));
  for (const each of [entry, free]) assert.equal(await signed(w, node, each), 'ok');
  assert.equal(await codeOf(issue(w, local, 'a.shop.test')), 'ok');
  assert.equal(await codeOf(w.services.tenants.delete(local, 'shop', 'x')), 'CONFLICT');
  assert.equal((await w.services.tenants.get(local, 'shop')).liveCertificates, 2);

  const ended = await w.services.tenants.end(local, 'shop', 'offboarded');
  assert.equal(ended.state, 'ended');
  assert.equal(await signed(w, node, entry), 'TENANT_ENDED');
  assert.equal(await codeOf(issue(w, local, 'b.shop.test')), 'TENANT_ENDED');
  assert.equal(
    await codeOf(create(w, tenant('new', { dnsSuffixes: ['shop.test'] }))),
    'TENANT_OVERLAPS',
  );

  const request = { selection: { tenant: 'shop' }, reason: 'cessationOfOperation', actId: '' };
  const plan = await w.services.selections.preview(local, request);
  assert.deepEqual([plan.matched, plan.revoked], [2, 2]);
  assert.equal((await w.services.selections.revoke(local, request)).revoked, 2);
  const again = await w.services.selections.preview(local, request);
  assert.deepEqual([again.revoked, again.alreadyRevoked], [0, 2]);
  const page = { size: 10 };
  const listed = await w.services.certificates.list(local, { tenant: 'shop' }, 'created', page);
  assert.equal(listed.items.length, 2);

  await w.services.tenants.delete(local, 'shop', 'gone');
  assert.equal((await w.services.tenants.get(local, 'shop')).view.tenant.state, 'deleted');
  assert.equal(await signed(w, node, entry), 'ok', 'its names are free');
  assert.equal(await codeOf(create(w, tenant('shop'))), 'ALREADY_EXISTS');
  assert.equal(
    await codeOf(w.services.tenants.update(local, tenant('shop'), anyVersion)),
    'CONFLICT',
  );
  const still = await w.services.certificates.list(local, { tenant: 'shop' }, 'created', page);
  assert.equal(still.items.length, 2, 'its certificates are still its own');
});

test('a certificate of addresses alone is found, seen and revoked by the tenant on its record', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const { caller: node } = await w.joinAgent('n1');
  const addresses = (path: string, ip: string): Promise<string> =>
    w.addEntry({
      ...{ spiffeId: id(path), parentId: node.spiffeId, ips: [ip], profile: 'classic' },
      ...{ selectors: [selector(`target:name:${ip}`)] },
    });
  await create(w, tenant('shop'));
  await create(w, tenant('bank'));
  for (const [path, ip] of [
    ['/shop/lb', '192.0.2.1'],
    ['/bank/lb', '192.0.2.2'],
    ['/lb', '192.0.2.3'],
  ] as const)
    assert.equal(await signed(w, node, await addresses(path, ip)), 'ok');
  const ofShop = await adminOf(w, 'shop-ops', {
    ...{ verbs: ['certificate.*', 'tenant.*'], prefixes: ['tenant:shop'] },
  });
  const listed = async (name: string, caller: OperatorCaller) => {
    const { certificates } = w.services;
    const { items } = await certificates.list(caller, { tenant: name }, 'created', { size: 10 });
    return items.map(({ spiffeId, tenant: recorded }) => [spiffeId, recorded]);
  };
  assert.deepEqual(await listed('shop', local), [['ip:192.0.2.1', 'shop']]);
  assert.deepEqual(await listed('shop', ofShop), [['ip:192.0.2.1', 'shop']]);
  assert.equal(await codeOf(listed('bank', ofShop)), 'NOT_FOUND');
  assert.equal((await w.services.tenants.get(ofShop, 'shop')).liveCertificates, 1);
  const request = { selection: { tenant: 'shop' }, reason: 'cessationOfOperation', actId: '' };
  assert.equal((await w.services.selections.revoke(ofShop, request)).revoked, 1);
  const bank = { ...request, selection: { tenant: 'bank' } };
  assert.equal(await codeOf(w.services.selections.revoke(ofShop, bank)), 'NOT_FOUND');
});

test('the scope of a tenant is given while it is there, and covers no later tenant', async () => {
  await using w = await createServicesWorld();
  const role = { name: 'ops', verbs: ['tenant.*'], prefixes: ['tenant:shop'], members: [] };
  const put = () => codeOf(w.services.roles.put(local, role));
  assert.equal(await put(), 'NOT_FOUND');
  await create(w, tenant('shop'));
  assert.equal(await put(), 'ok');
  await w.services.tenants.end(local, 'shop', 'offboarded');
  assert.equal(await put(), 'ok');
  await w.services.tenants.delete(local, 'shop', 'gone');
  assert.equal(await put(), 'NOT_FOUND');
  assert.equal(await codeOf(create(w, tenant('shop'))), 'ALREADY_EXISTS');
});

test('a change of another version of a tenant is refused', async () => {
  await using w = await createServicesWorld();
  await create(w, tenant('shop'));
  const stale = { version: 7, dryRun: false };
  assert.equal(await codeOf(w.services.tenants.update(local, tenant('shop'), stale)), 'CONFLICT');
});
