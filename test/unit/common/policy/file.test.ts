import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import { policySha256 } from '../../../../src/common/policy/index.ts';

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
    [withRule({ quota: { count: 0, per: '1h', by: 'rule' } }), /quota.count: it is below 1/],
    [withRule({ quota: { count: 5, per: '32d', by: 'rule' } }), /per is longer than 31d/],
    [withRule({ quota: { count: 5, by: 'rule' } }), /quota.per/],
    [withRule({ quota: { count: 5, per: '1h', by: 'tenant' } }), /"tenant" is none of caller/],
    [
      withRule({ effect: 'deny', quota: { count: 5, per: '1h', by: 'rule' } }),
      /only a rule that allows has one/,
    ],
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
  assert.match(faultOf(`# ${'x'.repeat(256 * 1024)}`), /more than 256 KiB/);
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

test('a file of the largest size is refused for its first fault, and a repeated key by its place', () => {
  assert.match(faultOf('[]'.repeat(20_000)), /no valid YAML: Unexpected .* at line 1, column 3$/);
  assert.match(faultOf('a: 1\nb: 1\na: 2\n'), /the key "a" is there twice at line 3, column 1$/);
  assert.match(faultOf(`${withRule({})}\n---\na: 1`), /no valid YAML/);
  const long = Array.from({ length: 40 }, () => ({ when: `request.kind == "${'a'.repeat(900)}"` }));
  assert.match(
    faultOf(JSON.stringify({ meshcaPolicy: 1, rules: long })),
    /the expressions have \d+ characters together, more than 32768/,
  );
});

test('a rule that no request can match is refused', () => {
  for (const other of [
    { dnsNames: ['a.test'] },
    { ips: ['10.0.0.1'] },
    { profiles: ['short-lived'] },
    { keyTypes: ['ec-p256'] },
  ])
    assert.match(
      faultOf(withRule({ audiences: ['api'], ...other })),
      /audiences and \w+: no request has both/,
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
