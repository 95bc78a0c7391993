import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { serverId } from '../../../../src/common/spiffe/index.ts';
import { createCsr, parseCertificate } from '../../../../src/common/x509/index.ts';
import type {
  AdminCaller,
  AgentCaller,
  DelegateCaller,
  DelegatedItem,
  SvidOutcome,
  X509SvidItem,
} from '../../../../src/services/index.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
  selector,
  trustDomain,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;
const key = newKey();
const csrDer = createCsr(key);
const server = serverId(trustDomain).toString();
const item = (entryId: string, over: Partial<X509SvidItem> = {}): X509SvidItem => ({
  requestId: uuidv7(),
  entryId,
  csrDer,
  ttlSeconds: 0,
  selectors: [],
  replacesSerial: '',
  ...over,
});
const codes = (outcomes: readonly SvidOutcome[]): readonly string[] =>
  outcomes.map((each) => (each.ok ? each.leaf.spiffeId : each.error.code));
const ask = (path: string, over: Partial<DelegatedItem> = {}): DelegatedItem => ({
  requestId: uuidv7(),
  spiffeId: path.startsWith('spiffe:') ? path : id(path),
  dnsNames: [],
  ips: [],
  profile: '',
  csrDer,
  ttlSeconds: 0,
  ...over,
});

async function delegateOf(w: ServicesWorld, over: object = {}): Promise<DelegateCaller> {
  await w.services.delegations.create(local, {
    clientId: id('/control/istiod'),
    patterns: [id('/ns/*/sa/*')],
    maxTtlSeconds: 600,
    keyTypes: [],
    dnsPatterns: ['*.svc.test'],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
    ...over,
  });
  const caller = await w.mint('/control/istiod', false);
  assert.equal(caller.class, 'delegate');
  return caller as DelegateCaller;
}

test('an agent gets what its own entries and node sets give, and one answer for all else', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1', ['node:zone:edge']);
  await w.addEntry({
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:edge')],
  });
  await w.addEntry({
    id: 'set-core',
    spiffeId: id('/nodes/core'),
    parentId: server,
    selectors: [selector('node:zone:core')],
  });
  await w.addEntry({ id: 'own', spiffeId: id('/own'), parentId: agentId('n1') });
  await w.addEntry({ id: 'shared', spiffeId: id('/shared'), parentId: id('/nodes/edge') });
  await w.addEntry({ id: 'other', spiffeId: id('/other'), parentId: agentId('n2') });
  await w.addEntry({ id: 'core', spiffeId: id('/core'), parentId: id('/nodes/core') });
  await w.addEntry({
    id: 'short',
    spiffeId: id('/short'),
    parentId: agentId('n1'),
    expiresAt: w.clock.now() + 10,
  });
  w.clock.advance(10_000);
  const outcomes = await w.services.svids.signX509(
    caller,
    ['own', 'shared', 'other', 'core', 'short', 'none', 'set-core'].map((entryId) => item(entryId)),
  );
  assert.deepEqual(codes(outcomes), [
    id('/own'),
    id('/shared'),
    ...Array.from({ length: 5 }, () => 'ENTRY_NOT_AUTHORIZED'),
  ]);
  const refusals = outcomes.filter((each) => !each.ok);
  assert.ok(refusals.every(({ refusalId }) => refusalId !== ''));
  assert.equal(
    (await w.audit('request.refused')).filter(({ actor }) => actor === agentId('n1')).length,
    5,
  );
  const detail = await w.services.agents.get(local, agentId('n1'));
  assert.deepEqual(
    [
      detail.obtainable.map((entry) => entry.id).sort(),
      detail.obtainableTotal,
      detail.liveCertificates,
    ],
    [['own', 'shared'], 2, 3],
  );
});

test('a template is filled from the attested selectors and allowed values alone', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({
    id: 'user',
    spiffeId: id('/user/{unix.user}'),
    parentId: agentId('n1'),
    placeholders: { 'unix.user': ['alice', 'bob'] },
    selectors: [selector('unix:gid:100')],
  });
  const gid = selector('unix:gid:100');
  const user = (name: string) => ({ type: 'unix', value: `user:${name}` });
  const outcomes = await w.services.svids.signX509(caller, [
    item('user', { selectors: [gid, user('alice')] }),
    item('user', { selectors: [gid, user('carol')] }),
    item('user', { selectors: [gid, user('alice/../root')] }),
    item('user', { selectors: [gid] }),
    item('user', { selectors: [gid, user('alice'), user('bob')] }),
    item('user', { selectors: [user('alice')] }),
    item('user', { selectors: [gid, user('alice\n')] }),
    item('user', { selectors: [gid, user('{unix.user}')] }),
  ]);
  assert.deepEqual(codes(outcomes), [
    id('/user/alice'),
    ...Array.from({ length: 5 }, () => 'ENTRY_NOT_AUTHORIZED'),
    'SELECTOR_INVALID',
    'ENTRY_NOT_AUTHORIZED',
  ]);
});

test('subject, names, kind and life come from the entry', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({
    id: 'e',
    spiffeId: id('/web'),
    parentId: agentId('n1'),
    dnsNames: ['web.mesh.test'],
    x509TtlSeconds: 120,
  });
  await w.addEntry({ id: 'a', spiffeId: id('/boss'), parentId: agentId('n1'), admin: true });
  const outcomes = await w.services.svids.signX509(caller, [
    item('e'),
    item('e', { ttlSeconds: 60 }),
    item('e', { ttlSeconds: 121 }),
    item('e', { ttlSeconds: -1 }),
    item('a'),
    item('e', { csrDer: createCsr(key, { uriSan: id('/boss') }) }),
    item('e', { csrDer: Buffer.concat([csrDer, Buffer.from([0])]) }),
    item('e', { requestId: 'no such/id' }),
    item('e', { replacesSerial: 'xyz' }),
  ]);
  assert.deepEqual(codes(outcomes), [
    id('/web'),
    id('/web'),
    'TTL_OUT_OF_RANGE',
    'TTL_OUT_OF_RANGE',
    id('/boss'),
    'CSR_IDENTITY_MISMATCH',
    'CSR_MALFORMED',
    'INVALID_REQUEST',
    'INVALID_REQUEST',
  ]);
  const [first, second, , , boss] = outcomes;
  assert.ok(first?.ok && second?.ok && boss?.ok);
  assert.deepEqual([first.leaf.lifetimeSeconds, second.leaf.lifetimeSeconds], [120, 60]);
  assert.deepEqual(unwrap(parseCertificate(first.leaf.chainDer[0] as Buffer)).dnsSans, [
    'web.mesh.test',
  ]);
  assert.equal((await w.store.certificates.bySerial(first.leaf.serial))?.kind, 'workload');
  assert.equal((await w.store.certificates.bySerial(boss.leaf.serial))?.kind, 'admin');
});

test('the same request and key get the recorded certificate again, and a batch states each request once', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  const same = item('e');
  const [first] = await w.services.svids.signX509(caller, [same]);
  const [again] = await w.services.svids.signX509(caller, [same]);
  assert.ok(first?.ok && again?.ok);
  assert.equal(again.leaf.serial, first.leaf.serial);
  const fresh = item('e');
  assert.deepEqual(codes(await w.services.svids.signX509(caller, [fresh, fresh])), [
    id('/web'),
    'INVALID_REQUEST',
  ]);
});

test('a request without an ID gets one, and a certificate of its own each time', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  const nameless = item('e', { requestId: '' });
  const outcomes = await w.services.svids.signX509(caller, [nameless, nameless]);
  const delegated = await w.services.signing.sign(await delegateOf(w), [
    ask('/ns/a/sa/web', { requestId: '' }),
    ask('/ns/a/sa/web', { requestId: '' }),
  ]);
  const serials = [...outcomes, ...delegated.outcomes].map((each) =>
    each.ok ? each.leaf.serial : each.error.code,
  );
  assert.equal(new Set(serials).size, 4);
  assert.ok(
    [...outcomes, ...delegated.outcomes].every(
      (each) => each.ok && /^[0-9a-f-]{36}$/.test(each.requestId),
    ),
    serials.join(),
  );
});

test('a ban, a deleted or changed entry, and a newer session while signing release nothing', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const entry = { id: 'e', spiffeId: id('/web'), parentId: agentId('n1') };
  await w.addEntry(entry);
  const during = async (act: () => Promise<unknown>): Promise<string> => {
    w.beforeSigning(async () => void (await act()));
    return codes(await w.services.svids.signX509(caller, [item('e')]))[0] as string;
  };
  assert.equal(
    await during(() => w.services.entries.update(local, entryInput({ ...entry, hint: 'x' }), 0)),
    'ENTRY_CHANGED',
  );
  assert.equal(await during(() => w.services.entries.delete(local, ['e'])), 'ENTRY_NOT_AUTHORIZED');
  await w.addEntry(entry);
  assert.equal(await during(() => w.services.agents.ban(local, agentId('n1'), '')), 'AGENT_BANNED');
  await assert.rejects(w.services.svids.signX509(caller, [item('e')]), rejectsWith('AGENT_BANNED'));
  await w.services.agents.evict(local, agentId('n1'), '');
  const next = (await w.joinAgent('n1')).caller;
  w.beforeSigning(async () => void (await w.joinAgent('n1')));
  assert.deepEqual(codes(await w.services.svids.signX509(next, [item('e')])), ['AGENT_SUPERSEDED']);
  await assert.rejects(
    w.services.svids.signX509(next, [item('e')]),
    rejectsWith('AGENT_SUPERSEDED'),
  );
});

test('batches are bounded, and a caller that signs too much waits while others do not', async () => {
  await using w = await createServicesWorld({ signingRate: { perSecond: 10, burst: 5 } });
  const { caller } = await w.joinAgent('n1');
  const other = (await w.joinAgent('n2')).caller;
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  await assert.rejects(
    w.services.svids.signX509(
      caller,
      Array.from({ length: 501 }, () => item('e')),
    ),
    rejectsWith('REQUEST_TOO_LARGE'),
  );
  await assert.rejects(w.services.svids.signX509(caller, []), rejectsWith('INVALID_REQUEST'));
  await w.services.svids.signX509(
    caller,
    Array.from({ length: 5 }, () => item('e')),
  );
  await assert.rejects(w.services.svids.signX509(caller, [item('e')]), rejectsWith('RATE_LIMITED'));
  assert.deepEqual(codes(await w.services.svids.signX509(other, [item('e')])), [
    'ENTRY_NOT_AUTHORIZED',
  ]);
  w.clock.advance(1000);
  assert.deepEqual(codes(await w.services.svids.signX509(caller, [item('e')])), [id('/web')]);
});

test('JWT-SVIDs are for entries of the agent, with audiences and lives inside the limits', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1'), jwtTtlSeconds: 60 });
  await w.addEntry({ id: 'other', spiffeId: id('/other'), parentId: agentId('n2') });
  const jwt = (over: object = {}) =>
    w.services.svids.signJwt(caller, {
      requestId: uuidv7(),
      entryId: 'e',
      audience: ['a', 'b', 'a'],
      ttlSeconds: 0,
      selectors: [],
      ...over,
    });
  assert.equal((await jwt()).spiffeId, id('/web'));
  assert.deepEqual(w.jwts[0]?.audience, ['a', 'b']);
  assert.equal(w.jwts[0]?.ttlSeconds, 60);
  assert.deepEqual(
    w.jwts[0]?.rights.find(({ kind }) => kind === 'agent'),
    { kind: 'agent', spiffeId: agentId('n1'), generation: 1 },
  );
  await assert.rejects(jwt({ entryId: 'other' }), rejectsWith('ENTRY_NOT_AUTHORIZED'));
  await assert.rejects(jwt({ ttlSeconds: 61 }), rejectsWith('TTL_OUT_OF_RANGE'));
  for (const audience of [
    [],
    [''],
    ['x'.repeat(513)],
    ['\u20ac'.repeat(171)],
    ['db\u202e'],
    ['a\u2028b'],
    Array.from({ length: 17 }, (_, index) => `a${index}`),
  ])
    await assert.rejects(jwt({ audience }), rejectsWith('INVALID_REQUEST'));
});

test('a delegate signs inside its delegation and nothing else, always as delegated', async () => {
  await using w = await createServicesWorld();
  const caller = await delegateOf(w);
  await w.addEntry({ spiffeId: id('/ns/ops/sa/root'), parentId: agentId('n1'), admin: true });
  const table: readonly (readonly [string, DelegatedItem])[] = [
    [id('/ns/a/sa/web'), ask('/ns/a/sa/web', { dnsNames: ['web.svc.test'] })],
    ['OUTSIDE_DELEGATION', ask('/ns/a/sa/web/x')],
    ['OUTSIDE_DELEGATION', ask('/ns/a')],
    ['OUTSIDE_DELEGATION', ask('/nsx/a/sa/web')],
    ['OUTSIDE_DELEGATION', ask('/control/istiod')],
    ['SPIFFE_ID_RESERVED', ask('/meshca/agent/n1')],
    ['SPIFFE_ID_RESERVED', ask('/meshca/server')],
    ['TRUST_DOMAIN_FOREIGN', ask('spiffe://other.test/ns/a/sa/b')],
    ['SPIFFE_ID_INVALID', ask('spiffe://mesh.test/ns/../sa/b')],
    ['OUTSIDE_DELEGATION', ask('/ns/ops/sa/root')],
    ['OUTSIDE_DELEGATION', ask('/ns/a/sa/web', { dnsNames: ['web.other.test'] })],
    ['DNS_NAME_RESERVED', ask('/ns/a/sa/web', { dnsNames: ['ca.mesh.test'] })],
    ['DNS_NAME_INVALID', ask('/ns/a/sa/web', { dnsNames: ['*.svc.test'] })],
    ['TTL_OUT_OF_RANGE', ask('/ns/a/sa/web', { ttlSeconds: 601 })],
    ['TTL_OUT_OF_RANGE', ask('/ns/a/sa/web', { ttlSeconds: 5 })],
    ['CSR_MALFORMED', ask('/ns/a/sa/web', { csrDer: Buffer.from('x') })],
    [
      'CSR_IDENTITY_MISMATCH',
      ask('/ns/a/sa/web', { csrDer: createCsr(key, { uriSan: id('/ns/b/sa/web') }) }),
    ],
  ];
  const { outcomes, rootsDer } = await w.services.signing.sign(
    caller,
    table.map(([, each]) => each),
  );
  assert.deepEqual(
    codes(outcomes),
    table.map(([code]) => code),
  );
  assert.equal(rootsDer.length, 1);
  const [first] = outcomes;
  assert.ok(first?.ok);
  assert.equal((await w.store.certificates.bySerial(first.leaf.serial))?.kind, 'delegated');
  assert.equal(first.leaf.lifetimeSeconds, 600);
  await w.addEntry({ spiffeId: id('/ns/a/sa/web'), parentId: agentId('n1'), admin: true });
  assert.deepEqual(
    codes((await w.services.signing.sign(caller, [ask('/ns/a/sa/web')])).outcomes),
    ['OUTSIDE_DELEGATION'],
    'what was remembered of it ends with the change',
  );
});

test('a delegate gets no name of an admin whose entry was deleted or renamed past the log', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-admins-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, 'store.db');
  await using w = await createServicesWorld({}, { path, keys: new Map() });
  const caller = await delegateOf(w);
  for (const name of ['deleted', 'renamed', 'plain'])
    await w.addEntry({
      spiffeId: id(`/ns/ops/sa/${name}`),
      parentId: agentId('n1'),
      admin: name !== 'plain',
    });
  foreignSql(path, (database) => {
    database.prepare('DELETE FROM entries WHERE spiffe_id = ?').run(id('/ns/ops/sa/deleted'));
    database
      .prepare('UPDATE entries SET spiffe_id = ?, admin = 0 WHERE spiffe_id = ?')
      .run(id('/ns/ops/sa/other'), id('/ns/ops/sa/renamed'));
  });
  const names = ['deleted', 'renamed', 'plain', 'other'];
  assert.deepEqual(
    codes(
      (
        await w.services.signing.sign(
          caller,
          names.map((name) => ask(`/ns/ops/sa/${name}`)),
        )
      ).outcomes,
    ),
    ['OUTSIDE_DELEGATION', 'OUTSIDE_DELEGATION', id('/ns/ops/sa/plain'), id('/ns/ops/sa/other')],
  );
});

test('wildcards reach no reserved name, and a revocation during signing releases nothing', async () => {
  await using w = await createServicesWorld();
  const caller = await delegateOf(w, { patterns: [id('/**')] });
  assert.deepEqual(
    codes(
      (await w.services.signing.sign(caller, [ask('/meshca/agent/n1'), ask('/meshca/server')]))
        .outcomes,
    ),
    ['SPIFFE_ID_RESERVED', 'SPIFFE_ID_RESERVED'],
  );
  const [only] = (await w.services.delegations.list(local, { includeRevoked: false }, { size: 5 }))
    .items;
  w.beforeSigning(
    async () => void (await w.services.delegations.revoke(local, only?.id ?? '', '')),
  );
  assert.deepEqual(codes((await w.services.signing.sign(caller, [ask('/a')])).outcomes), [
    'OUTSIDE_DELEGATION',
  ]);
  await assert.rejects(
    w.services.signing.sign(caller, [ask('/a')]),
    rejectsWith('CALLER_NOT_ADMITTED'),
  );
});

test('no other class may use the signing or admin services, even past the table of the front', async () => {
  await using w = await createServicesWorld();
  await delegateOf(w);
  const agent = (await w.joinAgent('n1')).caller as AgentCaller;
  const admin = (await w.mint('/ops', true)) as AdminCaller;
  const workload = await w.mint('/web', false);
  for (const caller of [agent, admin, workload, local])
    await assert.rejects(
      w.services.signing.sign(caller as unknown as DelegateCaller, [ask('/ns/a/sa/b')]),
      rejectsWith('CALLER_NOT_ADMITTED'),
    );
  for (const caller of [agent, workload, w.services.callers.anonymous('x')]) {
    await assert.rejects(
      w.services.entries.list(caller as unknown as AdminCaller, {}, { size: 1 }),
      rejectsWith('CALLER_NOT_ADMITTED'),
    );
    await assert.rejects(
      w.services.mint.mint(caller as unknown as AdminCaller, {
        requestId: '',
        spiffeId: id('/x'),
        dnsNames: [],
        csrDer,
        ttlSeconds: 0,
        admin: true,
      }),
      rejectsWith('CALLER_NOT_ADMITTED'),
    );
  }
  await assert.rejects(
    w.services.svids.signX509(workload as unknown as AgentCaller, [item('e')]),
    rejectsWith('CALLER_NOT_ADMITTED'),
  );
});

test('an admin mints and delegates inside his prefix, and no admin, DNS name or role', async () => {
  await using w = await createServicesWorld();
  await w.services.roles.put(local, {
    name: 'a',
    verbs: ['certificate.*', 'delegation.*', 'role.*', 'certificate.read'],
    prefixes: [id('/team-a/')],
    members: [id('/ops')],
  });
  const admin = (await w.mint('/ops', true)) as AdminCaller;
  const mint = (path: string, over: object = {}) =>
    w.services.mint.mint(admin, {
      requestId: '',
      spiffeId: id(path),
      dnsNames: [],
      csrDer,
      ttlSeconds: 0,
      admin: false,
      ...over,
    });
  const { leaf } = await mint('/team-a/web');
  assert.equal((await w.store.certificates.bySerial(leaf.serial))?.requester, id('/ops'));
  for (const [path, over] of [
    ['/team-b/web', {}],
    ['/team-ab', {}],
    ['/team-a/web', { admin: true }],
    ['/team-a/web', { dnsNames: ['bank.example'] }],
  ] as const)
    await assert.rejects(mint(path, over), rejectsWith('ROLE_MISSING'));
  const delegate = (patterns: readonly string[], over: object = {}) =>
    w.services.delegations.create(admin, {
      clientId: id('/team-a/cp'),
      patterns,
      maxTtlSeconds: 60,
      keyTypes: [],
      dnsPatterns: [],
      ipRanges: [],
      wildcards: false,
      profile: '',
      expiresAt: 0,
      ...over,
    });
  await delegate([id('/team-a/**'), id('/team-a/x/*')]);
  for (const [patterns, over] of [
    [[id('/**')], {}],
    [[id('/*/web')], {}],
    [[id('/team-a/**'), id('/team-b/x')], {}],
    [[id('/team-a/**')], { clientId: id('/team-b/cp') }],
    [[id('/team-a/**')], { dnsPatterns: ['*.test'] }],
  ] as const) {
    await assert.rejects(delegate(patterns, over), rejectsWith('ROLE_MISSING'));
  }
  await assert.rejects(
    w.services.roles.put(admin, {
      name: 'me',
      verbs: ['*'],
      prefixes: [id('/')],
      members: [id('/ops')],
    }),
    rejectsWith('ROLE_MISSING'),
  );
  const seen = (await w.services.certificates.list(admin, {}, 'created', { size: 100 })).items;
  assert.deepEqual(
    seen.map(({ spiffeId }) => spiffeId),
    [id('/team-a/web')],
  );
  await assert.rejects(w.services.audit.list(admin, {}, { size: 5 }), rejectsWith('ROLE_MISSING'));
});

test('delegations with a bad client, pattern, life, key or name are refused', async () => {
  await using w = await createServicesWorld();
  const good = {
    clientId: id('/cp'),
    patterns: [id('/a/*')],
    maxTtlSeconds: 60,
    keyTypes: [],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
  };
  for (const [code, over] of [
    ['SPIFFE_ID_RESERVED', { clientId: agentId('n1') }],
    ['TRUST_DOMAIN_FOREIGN', { clientId: 'spiffe://other.test/cp' }],
    ['PATTERN_INVALID', { patterns: [] }],
    ['PATTERN_INVALID', { patterns: [id('/a*')] }],
    ['PATTERN_INVALID', { patterns: [id('/**/x')] }],
    ['TRUST_DOMAIN_FOREIGN', { patterns: ['spiffe://other.test/**'] }],
    ['SPIFFE_ID_RESERVED', { patterns: [id('/meshca/**')] }],
    ['TTL_OUT_OF_RANGE', { maxTtlSeconds: 0 }],
    ['TTL_OUT_OF_RANGE', { maxTtlSeconds: 86_401 }],
    ['KEY_UNSUPPORTED', { keyTypes: ['ed25519'] }],
    ['DNS_NAME_INVALID', { dnsPatterns: ['*'] }],
    ['DNS_NAME_INVALID', { dnsPatterns: ['a*.test'] }],
    ['INVALID_REQUEST', { profile: 'server' }],
    ['INVALID_REQUEST', { expiresAt: 1 }],
  ] as const)
    await assert.rejects(
      w.services.delegations.create(local, { ...good, ...over }),
      rejectsWith(code),
      JSON.stringify(over),
    );
});
