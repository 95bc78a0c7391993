import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  checkRole,
  chooseDelegation,
  dnsPatternMatches,
  grantsOf,
  holdsEverything,
  permits,
  parentsOf,
  type Delegation,
} from '../../../src/domain/index.ts';
import { attested, draft } from '../../compliance/store/fixtures.ts';
import { provenAlone } from '../../support/proven.ts';

const trustDomain = TrustDomain.of('mesh.test');
const td = 'spiffe://mesh.test';

test('a DNS scope covers endpoints whose names are all inside, and no identity', () => {
  const may = (scopes: readonly string[], dnsNames: readonly string[], ips: string[] = []) =>
    permits([{ verbs: ['certificate.read'], prefixes: scopes }], 'certificate.read', {
      kind: 'names',
      subject: { kind: 'names', dnsNames, ips },
    });
  assert.ok(may(['dns:.shop.test'], ['a.shop.test', '*.shop.test', 'a.b.shop.test']));
  assert.ok(may(['dns:.shop.test', 'dns:shop.test'], ['shop.test', 'a.shop.test']));
  assert.ok(!may(['dns:.shop.test'], ['shop.test']));
  assert.ok(!may(['dns:shop.test'], ['a.shop.test']));
  assert.ok(!may(['dns:.shop.test'], ['a.workshop.test']));
  assert.ok(!may(['dns:.shop.test'], ['a.shop.test', 'a.other.test']));
  assert.ok(
    !may(['dns:.shop.test'], ['a.shop.test'], ['192.0.2.1']),
    'an address is under no suffix',
  );
  assert.ok(!may(['dns:.shop.test'], []), 'no names at all');
  assert.ok(!may([`${td}/`, `${td}/a/`], ['a.shop.test']));
  assert.ok(
    !permits([{ verbs: ['*'], prefixes: ['dns:.shop.test'] }], 'certificate.read', {
      kind: 'id',
      spiffeId: `${td}/a`,
    }),
  );
  const check = (prefix: string) =>
    checkRole({ name: 'web', verbs: ['*.read'], prefixes: [prefix], members: [] }, trustDomain).ok;
  for (const scope of ['dns:.shop.test', 'dns:www.shop.test']) assert.ok(check(scope), scope);
  for (const scope of ['dns:', 'dns:.', 'dns:.test', 'dns:test', 'dns:*.shop.test', 'dns:A.test'])
    assert.ok(!check(scope), scope);
});

test('a prefix ends with a segment, and without a slash it is one ID alone', () => {
  const may = (prefix: string, spiffeId: string): boolean =>
    permits([{ verbs: ['entry.read'], prefixes: [prefix] }], 'entry.read', {
      kind: 'id',
      spiffeId,
    });
  assert.ok(may(`${td}/a/`, `${td}/a/b/c`));
  assert.ok(may(`${td}/a`, `${td}/a`));
  for (const [prefix, spiffeId] of [
    ['/a', '/a/b'],
    ['/a', '/ab'],
    ['/a/', '/a'],
    ['/a/', '/ab/c'],
    ['/a/b/', '/a/c'],
  ] as const)
    assert.ok(!may(td + prefix, td + spiffeId), `${prefix} ${spiffeId}`);
  assert.ok(
    !permits([{ verbs: ['*'], prefixes: [`${td}/a`] }], 'entry.read', {
      kind: 'below',
      prefix: `${td}/a`,
    }),
  );
});

test('the verb of one role and the prefix of another do not add up', () => {
  const grants = [
    { verbs: ['*'], prefixes: [`${td}/a/`] },
    { verbs: ['entry.read'], prefixes: [`${td}/`] },
  ];
  assert.ok(!permits(grants, 'entry.write', { kind: 'id', spiffeId: `${td}/b` }));
  assert.ok(!holdsEverything(grants, trustDomain));
  assert.ok(holdsEverything([{ verbs: ['*'], prefixes: [`${td}/`] }], trustDomain));
});

test('noun.*, *.read and * allow what they say', () => {
  const may = (verb: string, asked: 'entry.read' | 'entry.write' | 'agent.read'): boolean =>
    permits([{ verbs: [verb], prefixes: [`${td}/`] }], asked, { kind: 'none' });
  assert.deepEqual(
    ['entry.*', '*.read', '*', 'entry.read', 'agent.*'].map((verb) => [
      may(verb, 'entry.read'),
      may(verb, 'entry.write'),
      may(verb, 'agent.read'),
    ]),
    [
      [true, true, false],
      [true, false, true],
      [true, true, true],
      [true, false, false],
      [false, false, true],
    ],
  );
});

test('a role with a bad name, verb, prefix or member is refused', () => {
  const good = { name: 'a', verbs: ['*'], prefixes: [`${td}/`], members: [`${td}/ops`] };
  assert.ok(checkRole(good, trustDomain).ok);
  for (const change of [
    { name: 'A' },
    { name: '' },
    { verbs: [] },
    { verbs: ['entry.sing'] },
    { verbs: ['*.write'] },
    { verbs: ['role.write'] },
    { prefixes: [] },
    { prefixes: [td] },
    { prefixes: ['spiffe://other.test/'] },
    { prefixes: [`${td}/a//`] },
    { prefixes: [`${td}/../`] },
    { prefixes: ['spiffe://mesh'] },
    { prefixes: [`${td}/a/*`] },
    { members: [`${td}/meshca/agent/n1`] },
    { members: ['spiffe://other.test/x'] },
  ])
    assert.ok(!checkRole({ ...good, ...change }, trustDomain).ok, JSON.stringify(change));
});

test('one delegation must allow all of an ask, and the closest says why not', () => {
  const delegation = (over: Partial<Delegation>): Delegation => ({
    id: 'd',
    clientId: `${td}/c`,
    patterns: [`${td}/ns/*/sa/*`],
    maxTtlSeconds: 100,
    keyTypes: ['ec-p256'],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: 'short-lived',
    expiresAt: 0,
    revokedAt: null,
    createdAt: 0,
    createdBy: 'x',
    ...over,
  });
  const ask = (over: object): string => {
    const chosen = chooseDelegation(
      [
        delegation({}),
        delegation({
          id: 'e',
          patterns: [`${td}/ns/**`],
          maxTtlSeconds: 10,
          dnsPatterns: ['*.svc.test'],
        }),
      ].map((each) => provenAlone('delegation', each)),
      {
        spiffeId: SpiffeId.of(`${td}/ns/a/sa/b`),
        dnsNames: [],
        ttlSeconds: 0,
        keyType: 'ec-p256',
        ...over,
      },
    );
    return chosen.ok
      ? `${chosen.value.delegation.id} ${chosen.value.ttlSeconds}`
      : chosen.error.code;
  };
  assert.equal(ask({}), 'd 100');
  assert.equal(ask({ dnsNames: ['a.svc.test'] }), 'e 10');
  assert.equal(
    ask({ dnsNames: ['a.svc.test'], ttlSeconds: 50 }),
    'TTL_OUT_OF_RANGE',
    'the name of one and the life of the other do not add up',
  );
  assert.equal(ask({ keyType: 'rsa-2048' }), 'KEY_UNSUPPORTED');
  assert.equal(ask({ spiffeId: SpiffeId.of(`${td}/nsx/a`) }), 'OUTSIDE_DELEGATION');
  assert.equal(ask({ dnsNames: ['a.b.svc.test'] }), 'OUTSIDE_DELEGATION');
  assert.ok(
    !dnsPatternMatches('*.svc.test', 'svc.test') &&
      !dnsPatternMatches('*.svc.test', 'x.svc.test.evil') &&
      dnsPatternMatches('*.svc.test', 'x.svc.test'),
  );
  for (const pattern of ['*.svc.test', '*.*.test', 'x.svc.test'])
    assert.ok(!dnsPatternMatches(pattern, '*.svc.test'), 'a wildcard needs a grant of its own');
});

test('a tenant is covered by its own scope, and by that over the whole trust domain', () => {
  const may = (prefixes: readonly string[], name = 'shop'): boolean =>
    permits([{ verbs: ['acme.*'], prefixes }], 'acme.write', { kind: 'tenant', name });
  assert.ok(may(['tenant:shop']) && may([`${td}/`]));
  for (const scope of [
    'tenant:shop-2',
    'tenant:sho',
    'dns:.shop',
    `${td}/shop/`,
    `${td}/tenant:shop/`,
  ])
    assert.ok(!may([scope]), scope);
  const role = (prefix: string) =>
    checkRole({ name: 'x', verbs: ['acme.read'], prefixes: [prefix], members: [] }, trustDomain);
  assert.ok(role('tenant:shop').ok);
  for (const scope of ['tenant:', 'tenant:Shop', 'tenant:a b', `tenant:${'a'.repeat(65)}`])
    assert.ok(!role(scope).ok, scope);
});

test('roles grant what they state, and the auditor what is fixed in code', () => {
  const stated = { members: [], createdAt: 1, updatedAt: 1, verbs: ['*'], prefixes: [`${td}/a/`] };
  const roles = ['ops', 'auditor'].map((name) => provenAlone('role', { ...stated, name }));
  const [ops, auditor] = grantsOf(roles, trustDomain);
  assert.deepEqual([ops?.verbs, ops?.prefixes], [['*'], [`${td}/a/`]]);
  assert.deepEqual([auditor?.verbs, auditor?.prefixes], [['*.read'], [`${td}/`]]);
});

test('an agent is in the node sets whose selectors it has all of, until they expire', () => {
  const set = (spiffeId: string, values: readonly string[], expiresAt = 0) =>
    provenAlone('entry', {
      ...draft({
        spiffeId,
        selectors: values.map((value) => ({ type: 'node', value })),
        expiresAt,
      }),
      revision: 1,
      createdAt: 1,
      updatedAt: 1,
      createdBy: 'uid:0',
      createdOrder: 1,
      federatesWith: [],
      ips: [],
    });
  const agent = provenAlone('agent', {
    ...attested({
      spiffeId: 'me',
      selectors: [
        { type: 'node', value: 'a' },
        { type: 'node', value: 'b' },
      ],
    }),
    state: 'active',
    stateReason: '',
    generation: 1,
    lastSeenAt: 1,
    survivedOutageSeconds: 0,
  });
  assert.deepEqual(
    parentsOf(
      agent,
      [
        set('z', ['a']),
        set('y', ['a', 'b']),
        set('x', ['a', 'c']),
        set('w', []),
        set('v', ['a'], 10),
        set('z', ['b']),
      ],
      10,
    ),
    ['me', 'y', 'z'],
  );
});
