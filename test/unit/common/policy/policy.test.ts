import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import {
  decide,
  factsSha256,
  traceOf,
  type PolicyFacts,
} from '../../../../src/common/policy/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';

type Asked = Partial<Omit<PolicyFacts, 'spiffeId' | 'at'>> & {
  readonly id?: string;
  readonly at?: string;
};

const td = 'spiffe://td.test';

/** A workload of an agent, on a Monday morning. */
const factsOf = ({ id = `${td}/ns/prod/web`, at, ...more }: Asked = {}): PolicyFacts => ({
  at: Date.parse(at ?? '2026-11-30T09:30:00Z') / 1000,
  kind: 'workload',
  caller: 'agent',
  callerName: `${td}/meshca/agent/node-1`,
  spiffeId: id === '' ? undefined : SpiffeId.of(id),
  dnsNames: [],
  ips: [],
  audiences: undefined,
  profile: 'short-lived',
  keyType: 'ec-p256',
  ttlSeconds: 3600,
  entryId: 'web',
  delegationId: undefined,
  ...more,
});
const jwt = (more: Asked = {}): Asked => ({
  kind: 'jwt-svid',
  profile: undefined,
  keyType: undefined,
  dnsNames: undefined,
  ips: undefined,
  audiences: ['api'],
  ttlSeconds: 300,
  ...more,
});

const allow = (conditions: object = {}): object => ({
  name: 'allowing',
  effect: 'allow',
  ...conditions,
});
const deny = (conditions: object = {}): object => ({
  name: 'denying',
  effect: 'deny',
  ...conditions,
});
const all = { name: 'all', effect: 'allow' };
const policyOf = (...rules: readonly object[]) =>
  unwrap(readPolicy(JSON.stringify({ meshcaPolicy: 1, rules })));

type Row = readonly [title: string, rules: readonly object[], asked: Asked, allowed: boolean];

const effectCases: readonly Row[] = [
  ['an allow without conditions allows', [all], {}, true],
  ['nothing matches: denied', [allow({ entries: ['db'] })], {}, false],
  ['a deny wins over an allow before it', [all, deny()], {}, false],
  ['a deny wins over an allow after it', [deny(), all], {}, false],
  ['a deny that does not match leaves the allow', [deny({ entries: ['db'] }), all], {}, true],
  ['a deny alone allows nothing', [deny({ entries: ['db'] })], {}, false],
  ['one of two allows is enough', [allow({ entries: ['db'] }), all], {}, true],
  [
    'all conditions of a rule must hold',
    [allow({ entries: ['web'], keyTypes: ['rsa-2048'] })],
    {},
    false,
  ],
];

const idCases: readonly Row[] = [
  ['an ID', [allow({ spiffeIds: [`${td}/ns/prod/web`] })], {}, true],
  ['another ID', [allow({ spiffeIds: [`${td}/ns/prod/db`] })], {}, false],
  ['one segment', [allow({ spiffeIds: [`${td}/ns/*/web`] })], {}, true],
  ['a star is no part of a segment', [allow({ spiffeIds: [`${td}/ns/*`] })], {}, false],
  ['all below', [allow({ spiffeIds: [`${td}/ns/**`] })], {}, true],
  ['below is not the ID itself', [allow({ spiffeIds: [`${td}/ns/prod/web/**`] })], {}, false],
  [
    'a prefix of a segment is another name',
    [allow({ spiffeIds: [`${td}/ns/prod/**`] })],
    { id: `${td}/ns/production/web` },
    false,
  ],
  ['another trust domain', [allow({ spiffeIds: ['spiffe://other.test/**'] })], {}, false],
  [
    'a trust domain with ours as its end',
    [allow({ spiffeIds: [`${td}/**`] })],
    { id: 'spiffe://a.td.test/web' },
    false,
  ],
  [
    'upper case in a path is another ID',
    [deny({ spiffeIds: [`${td}/ns/prod/web`] }), all],
    { id: `${td}/ns/prod/Web` },
    true,
  ],
  ['a deny by ID', [deny({ spiffeIds: [`${td}/ns/prod/*`] }), all], {}, false],
  [
    'names without ID fulfil no condition on IDs',
    [allow({ spiffeIds: [`${td}/**`] })],
    { id: '', kind: 'endpoint' },
    false,
  ],
  [
    'nor are they denied by one',
    [deny({ spiffeIds: [`${td}/**`] }), all],
    { id: '', kind: 'endpoint' },
    true,
  ],
];

const web = ['web.td.test'];
const dnsCases: readonly Row[] = [
  ['a DNS name', [allow({ dnsNames: web })], { dnsNames: web }, true],
  [
    'every name must be allowed',
    [allow({ dnsNames: web })],
    { dnsNames: ['web.td.test', 'db.td.test'] },
    false,
  ],
  [
    'names of several patterns',
    [allow({ dnsNames: ['web.td.test', 'db.td.test'] })],
    { dnsNames: ['db.td.test', 'web.td.test'] },
    true,
  ],
  ['no names fulfil a limit of names', [allow({ dnsNames: web })], {}, true],
  ['a JWT-SVID has no names at all', [allow({ dnsNames: web })], jwt(), false],
  ['a star is one label', [allow({ dnsNames: ['*.td.test'] })], { dnsNames: web }, true],
  ['not two', [allow({ dnsNames: ['*.td.test'] })], { dnsNames: ['a.web.td.test'] }, false],
  ['not none', [allow({ dnsNames: ['*.td.test'] })], { dnsNames: ['td.test'] }, false],
  [
    'two stars are one or more',
    [allow({ dnsNames: ['**.td.test'] })],
    { dnsNames: ['a.web.td.test'] },
    true,
  ],
  ['but not none', [allow({ dnsNames: ['**.td.test'] })], { dnsNames: ['td.test'] }, false],
  [
    'a suffix without its dot',
    [allow({ dnsNames: ['**.td.test'] })],
    { dnsNames: ['eviltd.test'] },
    false,
  ],
  [
    'a name as prefix of another',
    [allow({ dnsNames: web })],
    { dnsNames: ['web.td.test.evil.test'] },
    false,
  ],
  [
    'one denied name is enough',
    [deny({ dnsNames: ['db.td.test'] }), all],
    { dnsNames: ['web.td.test', 'db.td.test'] },
    false,
  ],
  [
    'a second name does not hide it',
    [deny({ dnsNames: ['db.td.test'] }), all],
    { dnsNames: ['db.td.test', 'x.test'] },
    false,
  ],
  ['a deny of names leaves those without', [deny({ dnsNames: ['**.td.test'] }), all], {}, true],
  ['a deny of names leaves JWT-SVIDs', [deny({ dnsNames: ['**.td.test'] }), all], jwt(), true],
  [
    'a wildcard needs the word of the rule',
    [allow({ dnsNames: ['*.td.test'] })],
    { dnsNames: ['*.td.test'] },
    false,
  ],
  ['also without any limit of names', [all], { dnsNames: ['*.td.test'] }, false],
  [
    'with it the wildcard passes',
    [allow({ dnsNames: ['*.td.test'], wildcardNames: true })],
    { dnsNames: ['*.td.test'] },
    true,
  ],
  [
    'as a whole alone',
    [allow({ dnsNames: web, wildcardNames: true })],
    { dnsNames: ['*.td.test'] },
    false,
  ],
  [
    'a wildcard that covers a denied name',
    [deny({ dnsNames: web }), { ...all, wildcardNames: true }],
    { dnsNames: ['*.td.test'] },
    false,
  ],
  [
    'a wildcard beside it',
    [deny({ dnsNames: web }), { ...all, wildcardNames: true }],
    { dnsNames: ['*.x.td.test'] },
    true,
  ],
  [
    'a wildcard one level above',
    [deny({ dnsNames: ['a.web.td.test'] }), { ...all, wildcardNames: true }],
    { dnsNames: ['*.td.test'] },
    true,
  ],
  [
    'an international name by its xn-- labels',
    [allow({ dnsNames: ['xn--bcher-kva.test'] })],
    { dnsNames: ['xn--bcher-kva.test'] },
    true,
  ],
  [
    'a look-alike of it',
    [allow({ dnsNames: ['xn--bcher-kva.test'] })],
    { dnsNames: ['xn--bcher-lva.test'] },
    false,
  ],
  [
    'a star is an international label too',
    [deny({ dnsNames: ['*.test'] }), all],
    { dnsNames: ['xn--bcher-kva.test'] },
    false,
  ],
  ['upper case is no way around', [allow({ dnsNames: web })], { dnsNames: ['WEB.td.test'] }, false],
  ['nor is a final dot', [allow({ dnsNames: web })], { dnsNames: ['web.td.test.'] }, false],
  [
    'an address among the DNS names',
    [allow({ dnsNames: ['**.td.test'], ips: ['10.0.0.0/8'] })],
    { dnsNames: ['10.0.0.1'] },
    false,
  ],
  [
    'nothing of a name is dropped',
    [allow({ dnsNames: web })],
    { dnsNames: ['web.td.test\0.evil.test'] },
    false,
  ],
];

const ten = ['10.0.0.0/8'];
const ipCases: readonly Row[] = [
  ['an address in a range', [allow({ ips: ten })], { ips: ['10.1.2.3'] }, true],
  ['its first', [allow({ ips: ten })], { ips: ['10.0.0.0'] }, true],
  ['its last', [allow({ ips: ten })], { ips: ['10.255.255.255'] }, true],
  ['the one after', [allow({ ips: ten })], { ips: ['11.0.0.0'] }, false],
  ['one address', [allow({ ips: ['10.0.0.1'] })], { ips: ['10.0.0.2'] }, false],
  ['every address must be allowed', [allow({ ips: ten })], { ips: ['10.0.0.1', '8.8.8.8'] }, false],
  [
    'one denied address is enough',
    [deny({ ips: ten }), all],
    { ips: ['8.8.8.8', '10.0.0.1'] },
    false,
  ],
  ['IPv6', [allow({ ips: ['fd00::/8'] })], { ips: ['fd12::1'] }, true],
  ['IPv6 outside', [allow({ ips: ['fd00::/8'] })], { ips: ['fe80::1'] }, false],
  [
    'IPv4 in IPv6 is no IPv4 for an allow',
    [allow({ ips: ten })],
    { ips: ['::ffff:10.0.0.1'] },
    false,
  ],
  ['and is one for a deny', [deny({ ips: ten }), all], { ips: ['::ffff:10.0.0.1'] }, false],
  ['what is no address', [allow({ ips: ten })], { ips: ['010.0.0.1'] }, false],
];

const jwtCases: readonly Row[] = [
  ['an audience', [allow({ audiences: ['api'] })], jwt(), true],
  [
    'every audience must be allowed',
    [allow({ audiences: ['api'] })],
    jwt({ audiences: ['api', 'db'] }),
    false,
  ],
  [
    'one denied audience is enough',
    [deny({ audiences: ['db'] }), all],
    jwt({ audiences: ['api', 'db'] }),
    false,
  ],
  [
    'a prefix',
    [allow({ audiences: ['https://api.td.test/*'] })],
    jwt({ audiences: ['https://api.td.test/v1'] }),
    true,
  ],
  ['not more than a prefix', [allow({ audiences: ['api'] })], jwt({ audiences: ['api2'] }), false],
  ['a certificate has no audience', [allow({ audiences: ['api'] })], {}, false],
  ['a JWT-SVID has no profile', [allow({ profiles: ['short-lived'] })], jwt(), false],
  ['a JWT-SVID has no key type', [allow({ keyTypes: ['ec-p256'] })], jwt(), false],
  ['certificates alone', [allow({ kinds: ['workload'] })], jwt(), false],
];

const hour = { ttl: { max: '1h' } };
const ttlCases: readonly Row[] = [
  ['a TTL at its limit', [allow(hour)], { ttlSeconds: 3600 }, true],
  ['one second more', [allow(hour)], { ttlSeconds: 3601 }, false],
  ['at the least', [allow({ ttl: { min: '5m' } })], { ttlSeconds: 300 }, true],
  ['one second less', [allow({ ttl: { min: '5m' } })], { ttlSeconds: 299 }, false],
  ['a deny of long lives', [deny({ ttl: { min: '2h' } }), all], { ttlSeconds: 7200 }, false],
  ['no TTL is no short life', [allow(hour)], { ttlSeconds: undefined }, false],
  ['and is a long one', [deny({ ttl: { min: '2h' } }), all], { ttlSeconds: undefined }, false],
];

const factCases: readonly Row[] = [
  ['a kind', [allow({ kinds: ['workload', 'jwt-svid'] })], {}, true],
  ['another kind', [allow({ kinds: ['jwt-svid'] })], {}, false],
  [
    'downstream CAs',
    [deny({ kinds: ['downstream'] }), all],
    { kind: 'downstream', profile: 'downstream' },
    false,
  ],
  ['the class of the caller', [allow({ callers: ['local'] })], {}, false],
  [
    'mint',
    [deny({ callers: ['local'] }), all],
    { caller: 'local', kind: 'admin', callerName: 'uid:0' },
    false,
  ],
  ['the caller by ID', [allow({ callerIds: [`${td}/meshca/agent/*`] })], {}, true],
  ['by uid', [allow({ callerIds: ['uid:0'] })], { caller: 'local', callerName: 'uid:0' }, true],
  [
    'another uid',
    [allow({ callerIds: ['uid:0'] })],
    { caller: 'local', callerName: 'uid:00' },
    false,
  ],
  ['a profile', [allow({ profiles: ['short-lived'] })], { profile: 'revocable' }, false],
  ['a key type', [deny({ keyTypes: ['rsa-2048'] }), all], { keyType: 'rsa-2048' }, false],
  ['an entry', [allow({ entries: ['web'] })], {}, true],
  ['no entry', [allow({ entries: ['web'] })], { entryId: undefined }, false],
  ['a delegation', [allow({ delegations: ['cp'] })], { delegationId: 'cp' }, true],
];

const office = { times: [{ days: ['mon', 'tue'], from: '09:00', to: '17:00' }] };
const from = { validFrom: '2026-11-30T09:30:00Z' };
const until = { validUntil: '2026-11-30T09:30:00Z' };
const timeCases: readonly Row[] = [
  ['inside a window', [allow(office)], {}, true],
  ['at its first second', [allow(office)], { at: '2026-11-30T09:00:00Z' }, true],
  ['a second before', [allow(office)], { at: '2026-11-30T08:59:59Z' }, false],
  ['at its last second', [allow(office)], { at: '2026-11-30T16:59:59Z' }, true],
  ['at its end', [allow(office)], { at: '2026-11-30T17:00:00Z' }, false],
  ['on another day', [allow(office)], { at: '2026-11-29T10:00:00Z' }, false],
  ['on the next day', [allow(office)], { at: '2026-12-01T10:00:00Z' }, true],
  [
    'the last minute of a day',
    [allow({ times: [{ from: '23:59', to: '24:00' }] })],
    { at: '2026-11-30T23:59:59Z' },
    true,
  ],
  ['valid from this second', [allow(from)], {}, true],
  ['not before', [allow(from)], { at: '2026-11-30T09:29:59Z' }, false],
  ['valid until this second', [allow(until)], {}, false],
  ['valid before', [allow(until)], { at: '2026-11-30T09:29:59Z' }, true],
  ['a deny that has ended', [deny(until), all], {}, true],
];

for (const [of, rows] of [
  ['effects', effectCases],
  ['SPIFFE IDs', idCases],
  ['DNS names', dnsCases],
  ['IP addresses', ipCases],
  ['JWT-SVIDs', jwtCases],
  ['TTLs', ttlCases],
  ['kinds, callers, profiles, keys and grants', factCases],
  ['times', timeCases],
] as const)
  test(`a policy decides by ${of} as stated`, async (context) => {
    for (const [title, rules, asked, allowed] of rows)
      await context.test(title, () =>
        assert.equal(decide(policyOf(...rules), factsOf(asked)).allowed, allowed),
      );
  });

test('a verdict names its rule, with the message for the caller', () => {
  const policy = policyOf(deny({ keyTypes: ['rsa-2048'], message: 'use EC keys' }), all);
  assert.deepEqual(decide(policy, factsOf()), { allowed: true, rule: 'all', reason: '' });
  assert.deepEqual(decide(policy, factsOf({ keyType: 'rsa-2048' })), {
    allowed: false,
    rule: 'denying',
    reason: 'the rule denying of the policy denies it: use EC keys',
  });
  assert.deepEqual(decide(policyOf(allow({ entries: ['db'] })), factsOf()), {
    allowed: false,
    rule: undefined,
    reason: 'no rule of the policy allows this request',
  });
});

test('a trace names for each rule the first condition that does not hold', () => {
  const policy = policyOf(allow({ entries: ['db'] }), deny({ ttl: { min: '2h' } }), {
    ...all,
    name: 'rest',
  });
  assert.deepEqual(
    traceOf(policy, factsOf()).map(({ rule, mismatch }) => [rule, mismatch]),
    [
      ['allowing', 'entries'],
      ['denying', 'ttl'],
      ['rest', undefined],
    ],
  );
});

test('the digest of the facts differs with each fact', () => {
  const changes: readonly Asked[] = [
    { at: '2026-11-30T09:30:01Z' },
    { kind: 'admin' },
    { caller: 'local' },
    { callerName: 'uid:0' },
    { id: `${td}/x` },
    { dnsNames: ['a.test'] },
    { dnsNames: undefined },
    { ips: ['10.0.0.1'] },
    { audiences: [] },
    { profile: 'revocable' },
    { keyType: 'ec-p384' },
    { ttlSeconds: undefined },
    { entryId: undefined },
    { delegationId: 'd' },
    { tenant: 'a' },
    { eabKeyId: 'a' },
    { exchangedBy: 'a' },
    { exchangedDelegation: 'a' },
    { tokenIssuer: 'a' },
    { tokenSubject: 'a' },
  ];
  const digests = [{}, ...changes].map((asked) => factsSha256(factsOf(asked)));
  assert.equal(new Set(digests).size, changes.length + 1);
  assert.equal(factsSha256(factsOf()), digests[0]);
});

test('an allow with a quota names its place, and one without a quota comes before it', () => {
  const quota = (by: string) => ({ count: 5, per: '1h', by });
  const place = (rules: readonly object[], asked: Asked = {}) =>
    decide(policyOf(...rules), factsOf(asked)).place;
  const of = (by: string, asked: Asked = {}) =>
    place([allow({ quota: quota(by) })], asked)?.counter;
  assert.deepEqual(place([allow({ quota: quota('rule') })]), {
    counter: 'allowing',
    rule: 'allowing',
    limit: 5,
    perSeconds: 3600,
  });
  assert.equal(of('caller'), `allowing caller ${td}/meshca/agent/node-1`);
  assert.equal(of('spiffe-id'), `allowing spiffe-id ${td}/ns/prod/web`);
  assert.equal(of('spiffe-id', { id: '', dnsNames: ['a', 'b'] }), 'allowing spiffe-id a,b');
  const limited = allow({ quota: quota('rule') });
  for (const rules of [
    [limited, all],
    [all, limited],
  ])
    assert.deepEqual(decide(policyOf(...rules), factsOf()), {
      allowed: true,
      rule: 'all',
      reason: '',
    });
  const second = { ...limited, name: 'second' };
  assert.equal(place([limited, second])?.rule, 'allowing');
  assert.equal(decide(policyOf(limited, deny()), factsOf()).place, undefined);
});

test('rules see the tenant, the EAB key, and who exchanged it for which delegation', () => {
  const asked: Asked = {
    ...{ kind: 'endpoint', caller: 'acme', callerName: 'acme:a', id: '', entryId: undefined },
    ...{ dnsNames: ['www.shop.test'], profile: 'short', tenant: 'shop', eabKeyId: 'k' },
    ...{ exchangedBy: `${td}/shop/ci`, exchangedDelegation: 'd' },
    ...{ tokenIssuer: 'gitlab', tokenSubject: 'project:42' },
  };
  const rules: readonly (readonly [object, boolean])[] = [
    [{ tenants: ['shop'] }, true],
    [{ tenants: ['bank'] }, false],
    [{ eabKeys: ['k'] }, true],
    [{ eabKeys: ['l'] }, false],
    [{ exchangedBy: [`${td}/shop/*`] }, true],
    [{ exchangedBy: [`${td}/bank/*`] }, false],
    [{ delegations: ['d'] }, true],
    [{ delegations: ['e'] }, false],
    [{ when: 'request.tenant == "shop" && request.eab_key == "k"' }, true],
    [{ when: 'request.exchanged_by.endsWith("/ci") && request.delegation == "d"' }, true],
    [{ when: 'request.token_issuer == "gitlab" && request.token_subject == "project:42"' }, true],
    [{ when: 'request.token_issuer != "gitlab"' }, false],
  ];
  for (const [conditions, matches] of rules) {
    const text = JSON.stringify(conditions);
    assert.equal(decide(policyOf(allow(conditions)), factsOf(asked)).allowed, matches, text);
    // none of these conditions holds for a request that has no such fact
    assert.equal(decide(policyOf(allow(conditions)), factsOf()).allowed, false, text);
    assert.equal(
      decide(policyOf(allow(), deny(conditions)), factsOf(asked)).allowed,
      !matches,
      text,
    );
  }
});
