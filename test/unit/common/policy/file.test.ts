import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import {
  decide,
  policyCallers,
  policyKinds,
  policySha256,
} from '../../../../src/common/policy/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { keyTypes } from '../../../../src/common/x509/index.ts';

const withRule = (rule: object): string =>
  JSON.stringify({ meshcaPolicy: 1, rules: [{ name: 'r', effect: 'allow', ...rule }] });

function faultOf(source: string): string {
  const read = readPolicy(source);
  assert.ok(!read.ok, `it was taken: ${source.slice(0, 200)}`);
  assert.equal(read.error.code, 'POLICY_INVALID');
  return read.error.message;
}

test('a policy is read from YAML, its rules in their order', () => {
  const read = readPolicy(`
meshcaPolicy: 1
description: short lives in production
rules:
  - name: no-rsa
    effect: deny
    message: use EC keys
    keyTypes: [rsa-2048, rsa-3072, rsa-4096]
  - name: production
    effect: allow
    spiffeIds: [spiffe://td.test/ns/prod/**]
    ttl: {max: 1h}
`);
  assert.ok(read.ok);
  assert.deepEqual(
    read.value.rules.map(({ name, effect, message }) => [name, effect, message]),
    [
      ['no-rsa', 'deny', 'use EC keys'],
      ['production', 'allow', ''],
    ],
  );
  assert.equal(read.value.description, 'short lives in production');
});

test('each fault is refused with its place, and words that are nearly right are told', () => {
  for (const [source, message] of [
    ['', /it is a mapping of keys to values/],
    ['[', /no valid YAML/],
    ['a: &x 1\nb: *x', /no valid YAML/],
    ['meshcaPolicy: 1\nmeshcaPolicy: 1\nrules: []', /no valid YAML/],
    [JSON.stringify({ meshcaPolicy: 2, rules: [] }), /meshcaPolicy: the only format/],
    [JSON.stringify({ meshcaPolicy: 1, rules: [] }), /rules: a policy without rules/],
    [JSON.stringify({ meshcaPolicy: 1, rule: [] }), /unknown key "rule"; did you mean rules/],
    [withRule({ name: 'Web' }), /rules "Web" name: it is of \[a-z0-9.-\]/],
    [withRule({ name: 'x'.repeat(65) }), /up to 64/],
    [withRule({ effect: 'permit' }), /rules "r" effect: "permit" is none of allow, deny/],
    [withRule({ spifeIds: [] }), /unknown key "spifeIds"; did you mean spiffeIds/],
    [withRule({ spiffeIds: [] }), /spiffeIds: an empty list matches nothing/],
    [withRule({ spiffeIds: ['web'] }), /spiffeIds.0: pattern "web"/],
    [withRule({ spiffeIds: ['spiffe://td.test'] }), /names a trust domain/],
    [withRule({ spiffeIds: ['spiffe://td.test/a*'] }), /spiffeIds.0/],
    [withRule({ kinds: ['agent'] }), /"agent" is none of workload/],
    [withRule({ kinds: ['worklod'] }), /did you mean workload/],
    [withRule({ callers: ['server'] }), /"server" is none of agent/],
    [withRule({ callerIds: ['root'] }), /callerIds.0/],
    [withRule({ profiles: ['shortlived'] }), /did you mean short-lived/],
    [withRule({ keyTypes: ['rsa'] }), /"rsa" is none of/],
    [withRule({ dnsNames: ['*'] }), /dnsNames.0: the DNS pattern "\*" matches every name/],
    [withRule({ dnsNames: ['**.*'] }), /matches every name/],
    [withRule({ dnsNames: ['a*.test'] }), /invalid label/],
    [withRule({ dnsNames: ['a.**.test'] }), /invalid label/],
    [withRule({ dnsNames: ['bücher.test'] }), /xn--/],
    [withRule({ dnsNames: ['10.0.0.1'] }), /looks like an IP address/],
    [withRule({ dnsNames: ['WEB.test'] }), /invalid label/],
    [withRule({ ips: ['10.0.0.0/33'] }), /neither an IP address nor a range/],
    [withRule({ ips: ['10.0.0.0/8/8'] }), /neither/],
    [withRule({ ips: ['10.0.0'] }), /neither/],
    [withRule({ ips: ['::ffff:10.0.0.0/104'] }), /write it as an IPv4 range/],
    [withRule({ ips: ['fe80::1%eth0'] }), /neither/],
    [withRule({ audiences: ['a*b'] }), /\* stands at the end alone/],
    [withRule({ ttl: {} }), /ttl: it has neither min nor max/],
    [withRule({ ttl: { min: '2h', max: '1h' } }), /min is above max/],
    [withRule({ ttl: { max: '0s' } }), /no duration/],
    [withRule({ ttl: { max: '1 h' } }), /no duration/],
    [withRule({ ttl: { most: '1h' } }), /unknown key "most"/],
    [withRule({ times: [{ from: '18:00', to: '06:00' }] }), /write two windows/],
    [withRule({ times: [{ from: '24:01' }] }), /no time of day/],
    [withRule({ times: [{ from: '09:60' }] }), /no time of day/],
    [withRule({ times: [{ days: ['monday'] }] }), /"monday" is none of/],
    [withRule({ validFrom: '2026-02-30' }), /no instant/],
    [withRule({ effect: 'deny', wildcardNames: true }), /matches wildcard names in any case/],
    [withRule({ where: 'true' }), /unknown key "where"/],
    [withRule({ when: true }), /when: it is text/],
    [withRule({ when: 'true' }), /when: line 1, column 1: it reads nothing of the request/],
    [
      JSON.stringify({
        meshcaPolicy: 1,
        rules: ['a', 'a'].map((name) => ({ name, effect: 'allow' })),
      }),
      /two rules have the name a/,
    ],
  ] as const)
    assert.match(faultOf(source), message);
});

test('bounds: size, rules and items of a list', () => {
  assert.match(faultOf(`# ${'x'.repeat(1024 * 1024)}`), /more than 1024 KiB/);
  const rules = Array.from({ length: 201 }, (_, index) => ({ name: `r${index}`, effect: 'allow' }));
  assert.match(faultOf(JSON.stringify({ meshcaPolicy: 1, rules })), /more than 200/);
  const many = Array.from({ length: 500 }, (_, index) => `n${index}.test`);
  const five = ['a', 'b', 'c', 'd', 'e'].map((name) => ({ name, effect: 'allow', dnsNames: many }));
  assert.match(
    faultOf(JSON.stringify({ meshcaPolicy: 1, rules: five })),
    /2500 patterns together, more than 2000/,
  );
  assert.match(
    faultOf(withRule({ entries: Array.from({ length: 501 }, String) })),
    /more than 500/,
  );
});

test('every fault of a file is told at once, up to twenty', () => {
  const bad = Array.from({ length: 30 }, (_, index) => ({ name: `r${index}`, effect: 'x' }));
  const message = faultOf(JSON.stringify({ meshcaPolicy: 1, rules: bad }));
  assert.match(message, /rules "r0" effect.*rules "r19" effect.*; and 10 more$/);
});

test('the digest is of the text', () => {
  const text = withRule({});
  assert.equal(policySha256(text), policySha256(text));
  assert.notEqual(policySha256(text), policySha256(`${text} `));
});

const word = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.constantFrom('*', '**', '', '*.test', 'spiffe://td.test/**', '10.0.0.0/8', '1h', 'a.test'),
);
const value = fc.oneof(
  word,
  fc.array(word, { maxLength: 4 }),
  fc.jsonValue({ maxDepth: 2 }),
  fc.integer(),
);
const conditions = [
  ...['kinds', 'callers', 'callerIds', 'spiffeIds', 'dnsNames', 'ips', 'audiences', 'profiles'],
  ...['keyTypes', 'ttl', 'entries', 'delegations', 'times', 'validFrom', 'validUntil', 'message'],
];
const rule = fc.record(
  {
    name: fc.oneof(fc.constantFrom('a', 'b'), word),
    effect: fc.constantFrom('allow', 'deny', 'x'),
    ...Object.fromEntries(conditions.map((key) => [key, value])),
  },
  { requiredKeys: ['name', 'effect'] },
);
/** Each condition is absent or right. */
const rightRule = fc.record(
  {
    name: fc.stringMatching(/^[a-z][a-z0-9]{0,12}$/),
    effect: fc.constantFrom('allow', 'deny'),
    kinds: fc.subarray([...policyKinds], { minLength: 1 }),
    callers: fc.subarray([...policyCallers], { minLength: 1 }),
    spiffeIds: fc.constantFrom(
      ['spiffe://td.test/**'],
      ['spiffe://td.test/*/x', 'spiffe://o.test/a'],
    ),
    dnsNames: fc.constantFrom(['*.test'], ['**.a.test', 'b.test']),
    ips: fc.constantFrom(['10.0.0.0/8'], ['::/0', '1.2.3.4']),
    audiences: fc.constantFrom(['*'], ['a', 'b*']),
    keyTypes: fc.subarray([...keyTypes], { minLength: 1 }),
    ttl: fc.constantFrom({ max: '1h' }, { min: 5 }),
    times: fc.constantFrom([{ days: ['mon'] }], [{ from: '08:00' }]),
  },
  { requiredKeys: ['name', 'effect'] },
);
const facts = fc.record({
  at: fc.oneof(fc.nat(), fc.integer(), fc.double()),
  kind: fc.constantFrom(...policyKinds),
  caller: fc.constantFrom(...policyCallers),
  callerName: word,
  spiffeId: fc.constantFrom(undefined, SpiffeId.of('spiffe://td.test/a/x')),
  dnsNames: fc.option(fc.array(word, { maxLength: 4 }), { nil: undefined }),
  ips: fc.option(fc.array(word, { maxLength: 4 }), { nil: undefined }),
  audiences: fc.option(fc.array(word, { maxLength: 4 }), { nil: undefined }),
  profile: fc.constantFrom(undefined, 'short-lived' as const),
  keyType: fc.constantFrom(undefined, ...keyTypes),
  ttlSeconds: fc.option(fc.integer(), { nil: undefined }),
  entryId: fc.option(word, { nil: undefined }),
  delegationId: fc.option(word, { nil: undefined }),
});

test('whatever the file, it loads or is refused, and what loads decides whatever is asked', () => {
  let loaded = 0;
  const load = (rules: readonly object[], asked: Parameters<typeof decide>[1]): void => {
    const read = readPolicy(JSON.stringify({ meshcaPolicy: 1, rules }));
    if (!read.ok) {
      assert.equal(read.error.code, 'POLICY_INVALID');
      return;
    }
    loaded += 1;
    const { allowed, rule: by } = decide(read.value, asked);
    // an allow that decided matches, and without an allow nothing is allowed
    if (allowed)
      assert.ok(read.value.rules.some(({ name, effect }) => name === by && effect === 'allow'));
  };
  fc.assert(fc.property(fc.array(rule, { minLength: 1, maxLength: 3 }), facts, load), {
    numRuns: 400,
  });
  fc.assert(
    fc.property(
      fc.uniqueArray(rightRule, { minLength: 1, maxLength: 5, selector: ({ name }) => name }),
      facts,
      load,
    ),
    { numRuns: 400 },
  );
  assert.ok(loaded >= 400);
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (source) => {
      const read = readPolicy(source);
      assert.ok(!read.ok && read.error.code === 'POLICY_INVALID');
    }),
  );
});
