import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, parseCertificate } from '../../../../src/common/x509/index.ts';
import type {
  AdminCaller,
  DelegatedItem,
  DelegateCaller,
  NamesRequest,
  SvidOutcome,
  X509SvidItem,
} from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
  selector,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const settings = { revocable: true };
const key = newKey();
const csrDer = createCsr(key);
const day = 86_400;
const request = (over: Partial<NamesRequest> = {}): NamesRequest => ({
  requestId: uuidv7(),
  dnsNames: ['www.shop.internal'],
  ips: [],
  csrDer,
  profile: '',
  ttlSeconds: 0,
  ...over,
});
const codeOf = (act: Promise<unknown>): Promise<string> =>
  act.then(
    () => 'ok',
    (error: unknown) => (error instanceof PkiError ? error.code : String(error)),
  );
const codes = (outcomes: readonly SvidOutcome[]): readonly string[] =>
  outcomes.map((each) => (each.ok ? each.leaf.spiffeId : each.error.code));

async function adminOfShop(w: ServicesWorld, ...verbs: readonly string[]): Promise<AdminCaller> {
  const admin = (await w.mint('/team/anna', true)) as AdminCaller;
  await w.services.roles.put(local, {
    name: 'shop',
    verbs,
    prefixes: ['dns:.shop.internal', id('/shop/')],
    members: [id('/team/anna')],
  });
  return admin;
}

test('an operator issues a certificate for names, which is on record with all of them', async () => {
  await using w = await createServicesWorld(settings);
  const asked = request({
    dnsNames: ['WWW.Shop.internal', '*.shop.internal'],
    ips: ['2001:DB8::7'],
  });
  const issued = await w.services.names.issue(local, asked);
  assert.deepEqual(issued.subject.dnsNames, ['www.shop.internal', '*.shop.internal']);
  assert.deepEqual(issued.subject.ips, ['2001:db8::7']);
  assert.equal(issued.profile, 'classic');
  assert.equal(issued.leaf.lifetimeSeconds, 30 * day);
  const record = await w.services.certificates.get(local, issued.leaf.serial);
  assert.deepEqual(
    [record.kind, record.profile, record.holder, record.spiffeId],
    ['endpoint', 'classic', 'uid:0', 'dns:www.shop.internal'],
  );
  assert.equal(await w.services.certificates.ownerOf(record), 'uid:0');
  const [logged] = await w.audit('certificate.issued');
  assert.match(logged?.canonical.toString() ?? '', /"\*\.shop\.internal"/);
  const again = await w.services.names.issue(local, asked);
  assert.equal(again.leaf.serial, issued.leaf.serial, 'the same request again');
  await assert.rejects(w.callerOf(issued.leaf), { code: 'CALLER_NOT_ADMITTED' });
});

test('the profile decides the life, and without CRLs no certificate is revocable', async () => {
  await using w = await createServicesWorld();
  const issue = (over: Partial<NamesRequest>) => w.services.names.issue(local, request(over));
  const usual = await issue({});
  assert.deepEqual([usual.profile, usual.leaf.lifetimeSeconds], ['short', 6 * day]);
  for (const [code, over] of [
    ['ok', { ttlSeconds: 3600 }],
    ['TTL_OUT_OF_RANGE', { ttlSeconds: 6 * day + 1 }],
    ['TTL_OUT_OF_RANGE', { ttlSeconds: 9 }],
    ['TTL_OUT_OF_RANGE', { profile: 'classic', ttlSeconds: 90 * day + 1 }],
    ['INVALID_REQUEST', { profile: 'hours' }],
    ['INVALID_REQUEST', { profile: 'short-lived' }],
    ['INVALID_REQUEST', { dnsNames: [] }],
    ['DNS_NAME_RESERVED', { dnsNames: ['*.mesh.test'] }],
    ['CSR_MALFORMED', { csrDer: Buffer.alloc(0) }],
    ['INVALID_REQUEST', { requestId: 'a b' }],
  ] as const)
    assert.equal(await codeOf(issue(over)), code, JSON.stringify(over));
});

test('a role for a DNS suffix issues and sees the names below it, and nothing else', async () => {
  await using w = await createServicesWorld(settings);
  const admin = await adminOfShop(w, 'certificate.issue', 'certificate.read');
  const other = await w.services.names.issue(local, request({ dnsNames: ['www.other.internal'] }));
  const own = await w.services.names.issue(admin, request({ dnsNames: ['*.shop.internal'] }));
  for (const over of [
    { dnsNames: ['shop.internal'] },
    { dnsNames: ['www.shop.internal', 'www.other.internal'] },
    { dnsNames: ['wwwshop.internal'] },
    { ips: ['192.0.2.7'] },
  ])
    assert.equal(
      await codeOf(w.services.names.issue(admin, request(over))),
      'ROLE_MISSING',
      JSON.stringify(over),
    );
  const listed = await w.services.certificates.list(admin, { dnsSuffix: 'internal' }, 'created', {
    size: 10,
  });
  assert.deepEqual(
    listed.items.map(({ serial }) => serial),
    [own.leaf.serial],
  );
  assert.equal(await codeOf(w.services.certificates.get(admin, other.leaf.serial)), 'NOT_FOUND');
  const minter = await adminOfShop(w, 'certificate.mint');
  assert.equal(await codeOf(w.services.names.issue(minter, request())), 'ROLE_MISSING');
});

test('a control plane signs the names of its delegation, by its profile and to its end', async () => {
  await using w = await createServicesWorld(settings);
  const made = await w.services.delegations.create(local, {
    clientId: id('/edge'),
    patterns: [],
    maxTtlSeconds: 4 * 3600,
    keyTypes: [],
    dnsPatterns: ['*.shop.internal'],
    ipRanges: ['10.0.0.0/8'],
    wildcards: false,
    profile: 'hours',
    expiresAt: 0,
  });
  const caller = (await w.mint('/edge', false)) as DelegateCaller;
  const ask = (over: Partial<DelegatedItem>): DelegatedItem => ({
    ...request(),
    spiffeId: '',
    ...over,
  });
  const { outcomes } = await w.services.signing.sign(caller, [
    ask({ ips: ['10.1.2.3'] }),
    ask({ dnsNames: ['*.shop.internal'] }),
    ask({ ips: ['11.1.2.3'] }),
    ask({ profile: 'classic' }),
    ask({ profile: 'short-lived' }),
    ask({ ttlSeconds: 4 * 3600 + 1 }),
    ask({ spiffeId: id('/ns/a/sa/b') }),
    ask({ spiffeId: id('/ns/a/sa/b'), ips: ['10.1.2.3'] }),
    ask({ spiffeId: id('/ns/a/sa/b'), profile: 'hours' }),
  ]);
  assert.deepEqual(codes(outcomes), [
    'dns:www.shop.internal',
    'OUTSIDE_DELEGATION',
    'OUTSIDE_DELEGATION',
    'OUTSIDE_DELEGATION',
    'INVALID_REQUEST',
    'TTL_OUT_OF_RANGE',
    'OUTSIDE_DELEGATION',
    'INVALID_REQUEST',
    'INVALID_REQUEST',
  ]);
  const [signed] = outcomes;
  assert.ok(signed?.ok);
  const record = await w.services.certificates.get(local, signed.leaf.serial);
  assert.deepEqual(
    [record.kind, record.profile, record.delegationId, signed.leaf.lifetimeSeconds],
    ['endpoint', 'hours', made.id, 4 * 3600],
  );
  assert.equal(await w.services.certificates.ownerOf(record), id('/edge'));
  w.beforeSigning(async () => void (await w.services.delegations.revoke(local, made.id, '')));
  const late = await w.services.signing.sign(caller, [ask({})]);
  assert.deepEqual(codes(late.outcomes), ['OUTSIDE_DELEGATION'], 'it ended before the release');
});

const namesEntry = {
  id: 'shop',
  spiffeId: id('/shop/front'),
  parentId: agentId('n1'),
  profile: 'short',
  selectors: [selector('target:name:web')],
  dnsNames: ['www.shop.internal'],
  ips: ['192.0.2.7'],
} as const;
const item = (over: Partial<X509SvidItem> = {}): X509SvidItem => ({
  requestId: uuidv7(),
  entryId: 'shop',
  csrDer,
  ttlSeconds: 0,
  selectors: [selector('target:name:web')],
  replacesSerial: '',
  ...over,
});

test('an agent gets the names of an entry without its identity, and no token for it', async () => {
  await using w = await createServicesWorld(settings);
  const { caller } = await w.joinAgent('n1');
  await w.addEntry(namesEntry);
  const [outcome] = await w.services.svids.signX509(caller, [item()]);
  assert.ok(outcome?.ok, outcome?.ok === false ? outcome.error.message : '');
  const parsed = parseCertificate(outcome.leaf.chainDer[0] as Buffer);
  assert.ok(parsed.ok);
  assert.deepEqual(
    [parsed.value.dnsSans, parsed.value.ipSans, parsed.value.uriSans],
    [['www.shop.internal'], ['192.0.2.7'], []],
  );
  assert.equal(outcome.leaf.lifetimeSeconds, 6 * day);
  const record = await w.services.certificates.get(local, outcome.leaf.serial);
  assert.deepEqual(
    [record.kind, record.profile, record.entryId, record.holder],
    ['endpoint', 'short', 'shop', agentId('n1')],
  );
  assert.equal(await w.services.certificates.ownerOf(record), id('/shop/front'));
  const token = { ...item(), audience: ['a'] };
  assert.equal(await codeOf(w.services.svids.signJwt(caller, token)), 'ENTRY_NOT_AUTHORIZED');
  const other = createCsr(newKey());
  w.beforeSigning(async () => {
    const { revision } = await w.services.entries.get(local, 'shop');
    const present = await w.services.entries.get(local, 'shop');
    await w.services.entries.update(local, { ...present, ips: [] }, revision);
  });
  const late = await w.services.svids.signX509(caller, [item({ csrDer: other })]);
  assert.deepEqual(codes(late), ['ENTRY_CHANGED'], 'the entry lost a name before the release');
});

test('who may write entries gives them only names within the DNS scopes of the role', async () => {
  await using w = await createServicesWorld(settings);
  const admin = await adminOfShop(w, 'entry.write', 'entry.read');
  const create = async (over: object): Promise<string> => {
    const [result] = await w.services.entries.create(admin, [
      entryInput({ ...namesEntry, id: '', ...over }),
    ]);
    return result?.ok === true ? 'ok' : (result?.error.code ?? 'none');
  };
  assert.equal(await create({ ips: [] }), 'ok');
  assert.equal(await create({}), 'ROLE_MISSING');
  assert.equal(await create({ ips: [], dnsNames: ['www.other.internal'] }), 'ROLE_MISSING');
  assert.equal(await create({ ips: [], spiffeId: id('/other/front') }), 'ROLE_MISSING');
  // names that the operator may give beside names alone are not his beside an identity
  assert.equal(await create({ ips: [], profile: 'short-lived', selectors: plain }), 'ROLE_MISSING');
});

const plain = [selector('unix:uid:1000')];
