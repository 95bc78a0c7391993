import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { serverId } from '../../../../src/common/spiffe/index.ts';
import type { AdminCaller, EntryInput } from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  selector,
  trustDomain,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;
const server = serverId(trustDomain).toString();
const agent = agentId('n1');
type Rough = Partial<EntryInput>;

const codeOf = async (
  w: ServicesWorld,
  entry: Rough,
  caller: AdminCaller | typeof local = local,
): Promise<string> => {
  const [result] = await w.services.entries.create(caller, [
    entryInput({ spiffeId: id('/web'), parentId: agent, ...entry }),
  ]);
  return result?.ok === true ? 'ok' : (result?.error.code ?? 'none');
};

const ofTarget = [selector('target:name:web')];

test('each rule of an entry has its code', async () => {
  await using w = await createServicesWorld();
  const placeholders = { 'unix.user': ['alice', 'bob'] };
  const table: readonly (readonly [string, Rough])[] = [
    ['SPIFFE_ID_INVALID', { spiffeId: 'http://x' }],
    ['SPIFFE_ID_INVALID', { spiffeId: id('/a/../b') }],
    ['SPIFFE_ID_INVALID', { spiffeId: id('/a/') }],
    ['SPIFFE_ID_INVALID', { spiffeId: id('') }],
    ['TRUST_DOMAIN_FOREIGN', { spiffeId: 'spiffe://other.test/web' }],
    ['TRUST_DOMAIN_FOREIGN', { spiffeId: 'spiffe://other.test/{unix.user}', placeholders }],
    ['SPIFFE_ID_RESERVED', { spiffeId: id('/meshca/agent/n2') }],
    ['SPIFFE_ID_RESERVED', { spiffeId: id('/meshca') }],
    ['SPIFFE_ID_RESERVED', { spiffeId: server }],
    ['SPIFFE_ID_RESERVED', { spiffeId: id('/meshca/{unix.user}'), placeholders }],
    [
      'SPIFFE_ID_RESERVED',
      { spiffeId: id('/{unix.user}/agent/n1'), placeholders: { 'unix.user': ['alice', 'meshca'] } },
    ],
    [
      'SPIFFE_ID_RESERVED',
      { spiffeId: id('/mesh{unix.user}/server'), placeholders: { 'unix.user': ['ca'] } },
    ],
    ['TEMPLATE_INVALID', { spiffeId: id('/u/{unix.user}') }],
    ['TEMPLATE_INVALID', { spiffeId: id('/u/{unix.user}'), placeholders: { 'unix.user': [] } }],
    [
      'TEMPLATE_INVALID',
      { spiffeId: id('/u/{unix.user}'), placeholders: { 'unix.user': ['a/b'] } },
    ],
    ['TEMPLATE_INVALID', { spiffeId: id('/u/{unix.user}'), placeholders: { 'unix.user': ['..'] } }],
    [
      'TEMPLATE_INVALID',
      { spiffeId: id('/u/{unix.user}'), placeholders: { 'unix.user': ['{unix.gid}'] } },
    ],
    [
      'TEMPLATE_INVALID',
      { spiffeId: id('/u/{unix.user}'), placeholders: { ...placeholders, 'unix.gid': ['1'] } },
    ],
    ['TEMPLATE_INVALID', { spiffeId: id('/u/{unix.user'), placeholders }],
    ['TEMPLATE_INVALID', { placeholders }],
    ['TEMPLATE_INVALID', { spiffeId: id('/u/{unix.user}'), placeholders, admin: true }],
    ['TEMPLATE_INVALID', { spiffeId: 'spiffe://{unix.user}/x', placeholders }],
    ['PARENT_INVALID', { parentId: 'n1' }],
    ['PARENT_INVALID', { parentId: 'spiffe://other.test/meshca/agent/n1' }],
    ['PARENT_INVALID', { parentId: id('/meshca/agent') }],
    ['PARENT_INVALID', { parentId: id('/meshca/agent/a/b') }],
    ['PARENT_INVALID', { parentId: id('/meshca/agent/x509pop/zz') }],
    ['PARENT_INVALID', { parentId: id('/no/such/set') }],
    ['PARENT_INVALID', { parentId: id('/web') }],
    ['PARENT_INVALID', { parentId: server, admin: true }],
    ['PARENT_INVALID', { parentId: server, spiffeId: id('/u/{unix.user}'), placeholders }],
    ['SELECTOR_INVALID', { selectors: [] }],
    ['SELECTOR_INVALID', { selectors: [{ type: 'UNIX', value: 'uid:1' }] }],
    ['SELECTOR_INVALID', { selectors: [{ type: 'unix', value: 'uid:1\n' }] }],
    ['SELECTOR_INVALID', { selectors: [selector('unix:uid:www-data')] }],
    ['SELECTOR_INVALID', { selectors: [selector('unix:uid:1'), selector('unix:path:/a//b')] }],
    ['SELECTOR_INVALID', { selectors: [selector('unix:uid:1'), selector('unix:sha256:aa')] }],
    ['SELECTOR_INVALID', { selectors: [selector('systemd:id:web')] }],
    [
      'ok',
      {
        id: 'nodes',
        spiffeId: id('/nodes'),
        parentId: server,
        selectors: [selector('unix:uid:any-text')],
      },
    ],
    ['SELECTORS_WEAK', { selectors: [selector('unix:path:/bin/sh')] }],
    [
      'SELECTORS_WEAK',
      {
        selectors: [selector('unix:sha256:aa'), selector('unix:path:/x'), selector('peer:pinned')],
      },
    ],
    [
      'ok',
      {
        id: 'weak',
        spiffeId: id('/weak'),
        selectors: [selector('unix:path:/bin/sh')],
        allowWeakSelectors: true,
      },
    ],
    ['DNS_NAME_INVALID', { dnsNames: ['*.mesh.test'] }],
    ['DNS_NAME_INVALID', { dnsNames: ['Web'] }],
    ['DNS_NAME_INVALID', { dnsNames: ['10.0.0.1'] }],
    ['DNS_NAME_RESERVED', { dnsNames: ['ca.mesh.test'] }],
    ['TTL_OUT_OF_RANGE', { x509TtlSeconds: 9 }],
    ['TTL_OUT_OF_RANGE', { x509TtlSeconds: 86_401 }],
    ['TTL_OUT_OF_RANGE', { x509TtlSeconds: -1 }],
    ['TTL_OUT_OF_RANGE', { jwtTtlSeconds: 3601 }],
    ['INVALID_REQUEST', { federatesWith: ['mesh.test'] }],
    ['INVALID_REQUEST', { federatesWith: Array.from({ length: 33 }, (_, n) => `d${n}.test`) }],
    ['TRUST_DOMAIN_INVALID', { federatesWith: ['Partner.test'] }],
    ['TRUST_DOMAIN_INVALID', { federatesWith: ['https://partner.test'] }],
    ['PARENT_INVALID', { parentId: server, federatesWith: ['partner.test'] }],
    ['INVALID_REQUEST', { ips: ['192.0.2.7'] }],
    ['SELECTOR_INVALID', { profile: 'short', dnsNames: ['www.shop.test'] }],
    ['INVALID_REQUEST', { profile: 'short', selectors: ofTarget }],
    ['DNS_NAME_RESERVED', { profile: 'short', selectors: ofTarget, dnsNames: ['*.mesh.test'] }],
    ['IP_ADDRESS_INVALID', { profile: 'short', selectors: ofTarget, ips: ['192.0.2.7/32'] }],
    ['INVALID_REQUEST', { profile: 'short', selectors: ofTarget, ips: ['::1'], admin: true }],
    [
      'TTL_OUT_OF_RANGE',
      { profile: 'short', selectors: ofTarget, ips: ['::1'], x509TtlSeconds: 518_401 },
    ],
    ['INVALID_REQUEST', { profile: 'hours' as never, selectors: ofTarget, ips: ['::1'] }],
    [
      'PARENT_INVALID',
      { profile: 'short', parentId: server, selectors: ofTarget, spiffeId: id('/set') },
    ],
    [
      'ok',
      {
        id: 'names',
        spiffeId: id('/shop-owner'),
        profile: 'short',
        selectors: ofTarget,
        dnsNames: ['WWW.shop.test', '*.shop.test'],
        ips: ['2001:DB8::7'],
        x509TtlSeconds: 6 * 86_400,
      },
    ],
    ['INVALID_REQUEST', { id: '../x' }],
    ['INVALID_REQUEST', { id: '.x' }],
    ['INVALID_REQUEST', { id: 'x'.repeat(65) }],
    ['INVALID_REQUEST', { hint: 'a\nb' }],
    ['INVALID_REQUEST', { hint: 'x'.repeat(129) }],
    ['INVALID_REQUEST', { expiresAt: w.clock.now() }],
    ['INVALID_REQUEST', { profile: 'server' as never }],
    ['ok', {}],
  ];
  for (const [code, entry] of table)
    assert.equal(await codeOf(w, entry), code, JSON.stringify(entry));
  const ofNames = await w.services.entries.get(local, 'names');
  assert.deepEqual(ofNames.dnsNames, ['www.shop.test', '*.shop.test']);
  assert.deepEqual(ofNames.ips, ['2001:db8::7']);
  const [first] = (await w.services.entries.list(local, { spiffeId: id('/web') }, { size: 10 }))
    .items;
  assert.match(first?.id ?? '', /^[0-9a-f-]{36}$/);
});

test('foreign trust domains are kept sorted and once each, of a template too', async () => {
  await using w = await createServicesWorld();
  const federatesWith = ['b.test', 'spiffe://a.test', 'b.test'];
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agent, federatesWith });
  await w.addEntry({
    id: 't',
    spiffeId: id('/u/{unix.user}'),
    placeholders: { 'unix.user': ['alice'] },
    parentId: agent,
    federatesWith,
  });
  for (const entry of ['e', 't'])
    assert.deepEqual((await w.services.entries.get(local, entry)).federatesWith, [
      'a.test',
      'b.test',
    ]);
});

test('selectors are kept sorted and once each', async () => {
  await using w = await createServicesWorld();
  await w.addEntry({
    id: 'e',
    spiffeId: id('/web'),
    parentId: agent,
    selectors: [selector('unix:uid:2'), selector('unix:gid:1'), selector('unix:uid:2')],
  });
  assert.deepEqual((await w.services.entries.get(local, 'e')).selectors, [
    selector('unix:gid:1'),
    selector('unix:uid:2'),
  ]);
});

test('no template can produce an ID that an entry states, whichever came first', async () => {
  await using w = await createServicesWorld();
  const template = {
    spiffeId: id('/u/{unix.user}/x-{unix.gid}'),
    parentId: agent,
    placeholders: { 'unix.user': ['alice', 'bob'], 'unix.gid': ['1', '2'] },
  };
  await w.addEntry({ id: 'stated', spiffeId: id('/u/bob/x-2'), parentId: agent });
  assert.equal(await codeOf(w, template), 'ALREADY_EXISTS');
  await w.services.entries.delete(local, ['stated']);
  await w.addEntry({ id: 'template', ...template });
  assert.equal(await codeOf(w, { spiffeId: id('/u/bob/x-2') }), 'ALREADY_EXISTS');
  assert.equal(
    await codeOf(w, { spiffeId: id('/u/bob/x-2'), parentId: server }),
    'ALREADY_EXISTS',
    'a node set states its ID as well',
  );
  assert.equal(await codeOf(w, { spiffeId: id('/u/bob/x-3') }), 'ok');
  assert.equal(await codeOf(w, { spiffeId: id('/u/carol/x-1') }), 'ok');
  const stated = await w.services.entries.list(
    local,
    { spiffeId: id('/u/carol/x-1') },
    { size: 1 },
  );
  const before = stated.items[0] as NonNullable<(typeof stated.items)[0]>;
  await assert.rejects(
    w.services.entries.update(
      local,
      { ...entryInput({ ...before }), spiffeId: id('/u/alice/x-1') },
      0,
    ),
    rejectsWith('ALREADY_EXISTS'),
  );
  await assert.rejects(
    w.services.entries.update(
      local,
      entryInput({
        id: 'template',
        ...template,
        placeholders: { 'unix.user': ['carol'], 'unix.gid': ['1'] },
      }),
      0,
    ),
    rejectsWith('ALREADY_EXISTS'),
  );
  const both = await w.services.entries.create(local, [
    entryInput({
      id: 'one',
      ...template,
      spiffeId: id('/v/{unix.user}'),
      placeholders: { 'unix.user': ['bob'] },
    }),
    entryInput({ id: 'two', spiffeId: id('/v/bob'), parentId: agent }),
  ]);
  assert.equal(both.filter((each) => each.ok).length, 1, 'in one batch, the one that came first');
});

test('a parent is an agent, a node set that exists, or the server for a node set', async () => {
  await using w = await createServicesWorld();
  const set = id('/nodes/edge');
  assert.equal(await codeOf(w, { parentId: set }), 'PARENT_INVALID');
  await w.addEntry({ spiffeId: set, parentId: server, selectors: [selector('node:zone:edge')] });
  assert.equal(await codeOf(w, { parentId: set }), 'ok');
});

test('apply creates, changes and prunes in one step or not at all, and a dry run only tells it', async () => {
  await using w = await createServicesWorld();
  const entries = w.services.entries;
  const file = [
    entryInput({ id: 'a', spiffeId: id('/a'), parentId: agent }),
    entryInput({ spiffeId: id('/b'), parentId: agent }),
  ];
  const planned = await entries.apply(local, file, { prune: true, dryRun: true });
  assert.deepEqual(
    planned.changes.map(({ action }) => action),
    ['create', 'create'],
  );
  assert.equal((await entries.list(local, {}, { size: 10 })).items.length, 0);
  assert.equal((await entries.apply(local, file, { prune: true, dryRun: false })).applied, true);
  assert.deepEqual(await entries.apply(local, file, { prune: true, dryRun: false }), {
    changes: [],
    unchanged: 2,
    applied: true,
  });
  const next = [
    entryInput({ id: 'a', spiffeId: id('/a'), parentId: agent, hint: 'new' }),
    entryInput({ id: 'c', spiffeId: id('/c'), parentId: agent }),
  ];
  const { changes, unchanged } = await entries.apply(local, next, { prune: true, dryRun: false });
  assert.deepEqual(
    [changes.map(({ action }) => action), unchanged],
    [['update', 'create', 'delete'], 0],
  );
  const bad = [
    entryInput({ id: 'd', spiffeId: id('/d'), parentId: agent }),
    entryInput({
      id: 'e',
      spiffeId: id('/u/{unix.user}'),
      parentId: agent,
      placeholders: { 'unix.user': ['x'] },
    }),
    entryInput({ id: 'f', spiffeId: id('/u/x'), parentId: agent }),
  ];
  for (const dryRun of [true, false])
    await assert.rejects(
      entries.apply(local, bad, { prune: false, dryRun }),
      rejectsWith('ALREADY_EXISTS'),
    );
  assert.deepEqual(
    (await entries.list(local, {}, { size: 10 })).items.map((entry) => entry.id).sort(),
    ['a', 'c'],
  );
  await assert.rejects(
    entries.apply(local, [next[0] as EntryInput, next[0] as EntryInput], {
      prune: false,
      dryRun: true,
    }),
    rejectsWith('INVALID_REQUEST'),
  );
});

test('an update at another revision loses', async () => {
  await using w = await createServicesWorld();
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agent });
  const { revision } = await w.services.entries.get(local, 'a');
  const input = entryInput({ id: 'a', spiffeId: id('/a'), parentId: agent, hint: 'x' });
  await w.services.entries.update(local, input, revision);
  await assert.rejects(w.services.entries.update(local, input, revision), rejectsWith('CONFLICT'));
});

test('an admin writes only what his prefix covers, before and after the change, and makes no admins', async () => {
  await using w = await createServicesWorld();
  await w.services.roles.put(local, {
    name: 'team-a',
    verbs: ['entry.*'],
    prefixes: [id('/team-a/')],
    members: [id('/ops/a')],
  });
  const admin = (await w.mint('/ops/a', true)) as AdminCaller;
  assert.equal(await codeOf(w, { id: 'own', spiffeId: id('/team-a/web') }, admin), 'ok');
  for (const path of ['/team-ab/web', '/team-a', '/team-b/web', '/team-A/web', '/x/team-a/web'])
    assert.equal(await codeOf(w, { spiffeId: id(path) }, admin), 'ROLE_MISSING', path);
  const placeholders = { 'unix.user': ['b'] };
  assert.equal(
    await codeOf(w, { spiffeId: id('/team-{unix.user}/web'), placeholders }, admin),
    'ROLE_MISSING',
    'a template that reaches out',
  );
  assert.equal(
    await codeOf(w, { spiffeId: id('/{unix.user}/web'), placeholders }, admin),
    'ROLE_MISSING',
  );
  assert.equal(await codeOf(w, { spiffeId: id('/team-a/{unix.user}'), placeholders }, admin), 'ok');
  assert.equal(
    await codeOf(w, { spiffeId: id('/team-a/boss'), admin: true }, admin),
    'ROLE_MISSING',
  );
  assert.equal(
    await codeOf(w, { spiffeId: id('/team-a/ca'), downstream: true }, admin),
    'ROLE_MISSING',
  );
  assert.equal(
    await codeOf(w, { spiffeId: id('/team-a/dns'), dnsNames: ['bank.example'] }, admin),
    'ROLE_MISSING',
    'a name that no prefix covers',
  );
  await w.addEntry({ id: 'foreign', spiffeId: id('/team-b/web'), parentId: agent });
  const takeOver = entryInput({ id: 'foreign', spiffeId: id('/team-a/web2'), parentId: agent });
  await assert.rejects(w.services.entries.update(admin, takeOver, 0), rejectsWith('ROLE_MISSING'));
  await assert.rejects(
    w.services.entries.update(
      admin,
      entryInput({ id: 'own', spiffeId: id('/team-b/web2'), parentId: agent }),
      0,
    ),
    rejectsWith('ROLE_MISSING'),
  );
  await assert.rejects(
    w.services.entries.apply(admin, [takeOver], { prune: false, dryRun: false }),
    rejectsWith('ROLE_MISSING'),
  );
  const [gone] = await w.services.entries.delete(admin, ['foreign']);
  assert.ok(gone !== undefined && !gone.ok && gone.error.code === 'ROLE_MISSING');
  await assert.rejects(w.services.entries.get(admin, 'foreign'), rejectsWith('NOT_FOUND'));
  assert.ok(
    (await w.services.entries.list(admin, {}, { size: 100 })).items.every(({ spiffeId }) =>
      spiffeId.startsWith(id('/team-a/')),
    ),
  );
  await w.services.entries.apply(admin, [], { prune: true, dryRun: false });
  assert.deepEqual(
    (await w.services.entries.list(local, {}, { size: 100 })).items.map((entry) => entry.id),
    ['foreign'],
    'prune takes what he may write and nothing else',
  );
});

test('the auditor reads everything and writes nothing, whatever the stored role says', async () => {
  await using w = await createServicesWorld();
  await w.services.roles.put(local, {
    name: 'auditor',
    verbs: [],
    prefixes: [],
    members: [id('/ops/eve')],
  });
  await assert.rejects(
    w.services.roles.put(local, {
      name: 'auditor',
      verbs: ['*'],
      prefixes: [id('/')],
      members: [id('/ops/eve')],
    }),
    rejectsWith('INVALID_REQUEST'),
  );
  // as someone with a hand in the database would
  await w.store.roles.put(
    {
      name: 'auditor',
      verbs: ['*'],
      prefixes: [id('/')],
      members: [id('/ops/eve')],
      createdAt: 0,
      updatedAt: 0,
    },
    { timeMs: 0, actor: 'x', kind: 'x', subject: 'x', detail: {} },
  );
  const auditor = (await w.mint('/ops/eve', true)) as AdminCaller;
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agent });
  const { services } = w;
  assert.equal((await services.entries.get(auditor, 'a')).id, 'a');
  assert.ok((await services.audit.list(auditor, {}, { size: 10 })).items.length > 0);
  assert.ok(
    (await services.certificates.list(auditor, {}, 'created', { size: 10 })).items.length > 0,
  );
  assert.ok(
    (await services.roles.list(auditor, { size: 10 })).items.some(({ name }) => name === 'auditor'),
  );
  for (const act of [
    () =>
      services.entries.update(
        auditor,
        entryInput({ id: 'a', spiffeId: id('/a'), parentId: agent, hint: 'h' }),
        0,
      ),
    () => services.tokens.create(auditor, { agentName: 'n2', ttlSeconds: 0, nodeSelectors: [] }),
    () =>
      services.roles.put(auditor, {
        name: 'mine',
        verbs: ['*'],
        prefixes: [id('/')],
        members: [id('/ops/eve')],
      }),
    () => services.roles.delete(auditor, 'auditor'),
    () =>
      services.mint.mint(auditor, {
        requestId: '',
        spiffeId: id('/x'),
        dnsNames: [],
        csrDer: Buffer.alloc(3),
        ttlSeconds: 0,
        admin: false,
      }),
    () => services.agents.ban(auditor, agentId('n1'), ''),
  ])
    await assert.rejects(act, rejectsWith('ROLE_MISSING'));
});

test('IDs that the server makes follow the order in which the entries were given', async () => {
  await using w = await createServicesWorld();
  const names = ['delta', 'alpha', 'charlie', 'bravo'];
  const inputs = names.map((name) =>
    entryInput({ spiffeId: id(`/${name}`), parentId: agentId('n1') }),
  );
  for (const result of await w.services.entries.create(local, inputs)) assert.ok(result.ok);
  const { items } = await w.services.entries.list(local, {}, { size: 10 });
  const sorted = items.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  assert.deepEqual(
    sorted.map(({ spiffeId }) => spiffeId),
    names.map((name) => id(`/${name}`)),
  );
});
