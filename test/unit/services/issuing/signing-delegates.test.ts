import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type {
  AdminCaller,
  AgentCaller,
  DelegateCaller,
  DelegatedItem,
} from '../../../../src/services/index.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { agentId, createServicesWorld, id, local } from '../../../support/services-world.ts';
import { rejectsWith, key, csrDer, item, codes, ask, delegateOf } from './signing-support.ts';

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
