import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { compileExpression } from '../../../../src/common/policy/cel/expression.ts';
import { fields } from '../../../../src/common/policy/cel/fields.ts';
import { loadCel } from '../../../../src/common/policy/cel/library.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import { decide, traceOf, type PolicyFacts } from '../../../../src/common/policy/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';

// in this zone 02:30 on the 29th of March 2026 does not exist
process.env.TZ = 'Europe/Berlin';
const library = loadCel();

const workload: PolicyFacts = {
  at: Date.parse('2026-03-29T02:30:00Z') / 1000,
  kind: 'workload',
  caller: 'agent',
  callerName: 'spiffe://td.test/meshca/agent/n1',
  spiffeId: SpiffeId.of('spiffe://td.test/ns/prod/web'),
  dnsNames: ['web.prod.test', 'api.prod.test'],
  ips: [],
  audiences: undefined,
  profile: 'short-lived',
  keyType: 'ec-p256',
  ttlSeconds: 3600,
  entryId: 'web',
  delegationId: undefined,
};
const jwt: PolicyFacts = {
  ...workload,
  kind: 'jwt-svid',
  dnsNames: undefined,
  ips: undefined,
  audiences: ['api'],
  profile: undefined,
  keyType: undefined,
};

/** Whether it holds; `failed`; of one that is refused the problem. */
function outcome(text: string, facts: PolicyFacts = workload): boolean | string {
  const compiled = compileExpression(text, library);
  if (!compiled.ok) return compiled.error.message;
  const holds = compiled.value.holds(facts);
  return holds.ok ? holds.value : 'failed';
}

const decided: readonly (readonly [text: string, holds: boolean | 'failed'])[] = [
  ['request.kind == "workload"', true],
  ['request.kind != "workload"', false],
  ['request.caller == "agent" && request.caller_name.endsWith("/n1")', true],
  ['request.trust_domain == "td.test"', true],
  ['request.path == ["ns", "prod", "web"]', true],
  ['request.path[1] == "prod"', true],
  ['"prod" in request.path', true],
  ['request.profile in ["revocable", "endpoint"]', false],
  ['request.ttl <= 3600 && request.ttl > 3599', true],
  ['request.ttl == -1', false],
  ['request.entry.startsWith("w") ? request.key_type == "ec-p256" : false', true],
  ['request.dns_names.all(name, name.endsWith(".prod.test"))', true],
  ['request.dns_names.exists(name, name == "api.prod.test")', true],
  ['request.dns_names.exists_one(name, name.startsWith("web."))', true],
  ['request.ips.all(ip, ip == "10.0.0.1")', true],
  ['request.dns_names.size() == 2 && size(request.path) == 3', true],
  ['request.spiffe_id.contains("/prod/")', true],
  ['request.spiffe_id.matches("^spiffe://td[.]test/ns/[a-z]+/web$")', true],
  ['request.spiffe_id.matches("ns/(dev|test)/")', false],
  ['request.time < timestamp("2026-04-01T00:00:00Z")', true],
  ['request.time >= timestamp("2026-03-29T02:30:00Z")', true],
  // always in UTC, whatever the zone of the process
  ['request.time.getHours() == 2 && request.time.getMinutes() == 30', true],
  ['request.time.getDayOfWeek() == 0 && request.time.getDate() == 29', true],
  ['request.time.getMonth() == 2 && request.time.getFullYear() == 2026', true],
  // a fact that the request does not have
  ['request.delegation == "mesh"', false],
  ['!(request.delegation == "mesh")', false],
  ['has(request.delegation)', false],
  ['!has(request.delegation)', true],
  ['has(request.delegation) && request.delegation == "mesh"', false],
  ['request.delegation == "mesh" || request.kind == "workload"', true],
  ['request.delegation == "mesh" && request.kind == "admin"', false],
  ['request.audiences.exists(each, each == "api")', false],
  ['request.dns_names.exists(name, name == request.delegation)', false],
  // what can not be decided
  ['request.path[3] == "x"', 'failed'],
  ['request.path[-1] == "x"', 'failed'],
  ['request.path[3] == "x" || request.kind == "admin"', 'failed'],
  ['request.path[3] == "x" || request.delegation == "mesh"', 'failed'],
  ['request.delegation == "mesh" || request.path[3] == "x"', 'failed'],
  ['request.path[3] == "x" || request.kind == "workload"', true],
  ['request.path.exists(each, each == request.ips[0])', 'failed'],
  ['["ns"][request.path.size()] == request.kind', 'failed'],
];
for (const [text, holds] of decided)
  test(`${text}: ${holds}`, () => assert.equal(outcome(text), holds));

const many = (count: number, part: string): string => Array(count).fill(part).join('');
const refused: readonly (readonly [text: string, problem: RegExp])[] = [
  ['request.knd == "workload"', /line 1, column 8: request has no field knd; did you mean kind\?/],
  ['request.kind == "a" &&\n  request.tll > 5', /line 2, column 10: request has no field tll; did/],
  ['kind == "workload"', /column 1: kind alone is no value; did you mean request.kind\?/],
  ['req.kind == "workload"', /only request has fields/],
  ['request == request', /request alone is no value/],
  ['request["kind"] == "workload"', /request alone is no value/],
  ['request.kind.size == 8', /only request has fields, so .size can not be read/],
  ['request.__proto__ == "x"', /no field __proto__/],
  ['constructor(request.kind)', /no function constructor/],
  ['request.kind', /the result is string, and must be bool/],
  ['request.ttl', /the result is int, and must be bool/],
  ['true', /reads nothing of the request/],
  ['request.kind == 1', /== does not take string and int/],
  ['request.ttl < "1h"', /< does not take int and string/],
  ['request.kind < "x"', /< does not take string and string/],
  ['request.kind && true', /&& takes bool, and not string/],
  ['!request.kind', /! does not take string/],
  ['request.kind in "workload"', /in does not take string and string/],
  ['request.ttl in request.path', /in does not take int and list/],
  ['request.kind == "a" ? request.kind : request.ttl', /\?: takes a bool, and two values/],
  ['request.kind == 9223372036854775808', /beyond 64 bits/],
  ['request.ttl < 1.5', /constants are texts, whole numbers, true and false/],
  ['request.kind == null', /constants are texts/],
  ['request.ttl + 1 > 5', /there is no arithmetic \(\+\)/],
  ['request.kind + "x" == "y"', /there is no arithmetic/],
  ['request.kind in []', /a list has items/],
  ['request.kind in ["a", 1]', /all of type string or all int/],
  ['{"a": request.kind}.a == "x"', /only request has fields/],
  ['google.protobuf.Duration{} == request.kind', /maps and messages can not be made/],
  ['type(request.kind) == string', /no function type/],
  ['dyn(request.kind) == 1', /no function dyn/],
  ['string(request.ttl) == "1"', /no function string/],
  ['request.kind.startWith("w")', /no function startWith; did you mean startsWith\?/],
  ['request.time.getHours("Europe/Berlin") == 4', /getHours does not take timestamp and string/],
  ['request.time > timestamp(request.kind)', /timestamp takes a text in quotes/],
  ['request.time > timestamp("2026-02-30T00:00:00Z")', /an instant is written/],
  ['request.time > timestamp("tomorrow")', /an instant is written/],
  ['request.kind.matches(request.caller)', /matches takes a text in quotes/],
  ['request.kind.matches("(")', /missing closing/],
  ['request.kind.matches("(?=x)")', /invalid/],
  ['request.kind.matches("a{500}")', /too large/],
  [`request.kind.matches("${many(300, 'a')}")`, /more than 256 characters/],
  ['request.dns_names.map(n, n).size() == 1', /of the macros there are/],
  ['request.dns_names.filter(n, n == "x").size() == 1', /of the macros there are/],
  ['request.dns_names.map(n, n == "x", n).size() == 1', /of the macros there are/],
  [
    'request.dns_names.all(n, request.path.exists(p, p == n))',
    /line 1, column 38: macros can not be nested/,
  ],
  ['request.kind.all(n, n == "x")', /a list is needed, and not string/],
  ['request.path.all(n, n)', /the test of an item is string/],
  ['request.path.all(request, request == "x")', /request is no name for an item/],
  ['request.path.all(n, true) && n == "x"', /n is not known/],
  ['', /end of input/],
  ['request.kind ==', /no CEL: 1:14/],
  [`${many(40, '(')}request.kind == "a"${many(40, ')')}`, /more than 24 levels/],
  [`request.kind == "a"${many(80, ' || true')}`, /more than 150 parts/],
  [`request.kind == "${many(1100, 'a')}"`, /more than 1024 characters/],
];
for (const [text, problem] of refused)
  test(`refused: ${text.slice(0, 70)}`, () => assert.match(String(outcome(text)), problem));

test('a request without a lifetime counts as endless in an expression too', () => {
  const endless = { ...workload, ttlSeconds: undefined };
  assert.equal(outcome('request.ttl > 3600', endless), true);
  assert.equal(outcome('request.ttl <= 3600', endless), false);
  assert.equal(outcome('has(request.ttl)', endless), true);
});

test('each field is missing where the request has no such fact, and is there where it has', () => {
  const optional = Object.keys(fields).filter(
    (name) => outcome(`has(request.${name})`, jwt) === false,
  );
  const later = ['tenant', 'eab_key', 'exchanged_by', 'token_issuer', 'token_subject'];
  const never = ['delegation', ...later];
  assert.deepEqual(optional, ['dns_names', 'ips', 'profile', 'key_type', ...never]);
  const none = { ...workload, spiffeId: undefined, entryId: undefined };
  const unnamed = Object.keys(fields).filter(
    (name) => outcome(`has(request.${name})`, none) === false,
  );
  assert.deepEqual(unnamed, ['spiffe_id', 'trust_domain', 'path', 'audiences', 'entry', ...never]);
  const facts = {
    tenant: 'a',
    eabKeyId: 'b',
    exchangedBy: 'c',
    tokenIssuer: 'd',
    tokenSubject: 'e',
  };
  for (const name of later)
    assert.equal(outcome(`has(request.${name})`, { ...workload, ...facts }), true, name);
  assert.equal(
    outcome('request.delegation == "x"', { ...workload, exchangedDelegation: 'x' }),
    true,
  );
});

test('a list beyond the bound of an expression is not gone through', () => {
  const names = Array.from({ length: 257 }, (_, index) => `n${index}.test`);
  assert.equal(
    outcome('request.dns_names.all(n, n.endsWith(".test"))', { ...workload, dnsNames: names }),
    'failed',
  );
  assert.equal(
    outcome('request.dns_names.all(n, n.endsWith(".test"))', {
      ...workload,
      dnsNames: names.slice(1),
    }),
    true,
  );
});

test('a pattern keeps few states, whatever texts callers bring', () => {
  const { value } = compileExpression(
    'request.caller_name.matches("(a|b)*a(a|b)(a|b)(a|b)(a|b)(a|b)c")',
    library,
  ) as { value: { holds(facts: PolicyFacts): unknown } };
  let seed = 1;
  for (let round = 0; round < 200; round += 1) {
    const text = Array.from({ length: 200 }, () => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed > 1073741824 ? 'a' : 'b';
    }).join('');
    assert.deepEqual(value.holds({ ...workload, callerName: `${text}c` }), {
      ok: true,
      value: text.at(-6) === 'a',
    });
  }
});

const rulesOf = (...rules: readonly object[]) =>
  readPolicy(JSON.stringify({ meshcaPolicy: 1, rules }));
const rule = (name: string, effect: string, when?: string) => ({
  name,
  effect,
  ...(when && { when }),
});
const fails = 'request.path[9] == "x"';

test('an expression that fails denies beside any allow, in any order, and a deny that matches comes first', () => {
  const all = rule('all', 'allow');
  for (const effect of ['allow', 'deny']) {
    const failing = rule('failing', effect, fails);
    for (const rules of [
      [failing, all],
      [all, failing],
    ]) {
      const verdict = decide(unwrap(rulesOf(...rules)), workload);
      assert.deepEqual([verdict.allowed, verdict.rule], [false, 'failing']);
      assert.match(verdict.failure ?? '', /beyond the end of a list/);
    }
    const denying = rule('denying', 'deny', 'request.kind == "workload"');
    for (const rules of [
      [failing, denying],
      [denying, failing],
    ]) {
      const verdict = decide(unwrap(rulesOf(...rules)), workload);
      assert.deepEqual([verdict.rule, verdict.failure], ['denying', undefined]);
    }
  }
});

test('an expression is not asked where another condition of its rule does not hold', () => {
  const other = { ...rule('jwts', 'deny', fails), kinds: ['jwt-svid'] };
  const policy = unwrap(rulesOf(other, rule('all', 'allow')));
  assert.equal(decide(policy, workload).allowed, true);
  assert.equal(decide(policy, jwt).allowed, false);
  assert.deepEqual(
    traceOf(policy, jwt).map(({ rule: name, mismatch, failure }) => [name, mismatch, failure]),
    [
      ['jwts', 'when', 'it reads an item beyond the end of a list'],
      ['all', undefined, undefined],
    ],
  );
});

test('the faults of expressions are told by rule, and their sizes are bounded together', () => {
  const faulty = rulesOf(
    rule('a', 'allow', 'request.knd == "x"'),
    rule('b', 'allow', 'request.kind'),
  );
  assert.match(faulty.ok ? '' : faulty.error.message, /rules "a" when: line 1.*; rules "b" when: /);
  const large = `request.kind == "a"${many(35, ' || true')}`;
  const rules = Array.from({ length: 30 }, (_, index) => rule(`r${index}`, 'allow', large));
  const read = rulesOf(...rules);
  assert.match(read.ok ? '' : read.error.message, /too large together \(\d+ parts, at most 1000/);
  const pattern = `request.kind.matches("${many(200, 'a')}")`;
  const patterns = rulesOf(...rules.map(({ name }) => rule(name, 'allow', pattern)));
  assert.match(patterns.ok ? '' : patterns.error.message, /instructions of patterns, at most 2048/);
});
