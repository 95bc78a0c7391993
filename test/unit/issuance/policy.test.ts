import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { decisionIn, factsSha256, type RecordedAct } from '../../../src/common/policy/index.ts';
import { readPolicy } from '../../../src/common/policy/file.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import {
  certificateKinds,
  requesterClasses,
  spiffeSubject,
  type Requester,
} from '../../../src/domain/index.ts';
import { admit, PolicyDenial, policyOf, type PolicyRequest } from '../../../src/issuance/index.ts';
import { builtInPolicy } from '../../../src/issuance/policy.ts';
import { factsOf } from '../../../src/issuance/policy-request.ts';

const td = 'spiffe://mesh.test';
const web = SpiffeId.of(`${td}/web`);
const agent: Requester = { class: 'agent', name: `${td}/meshca/agent/n1` };
const at = 1_000_000;
const clock = { now: () => at };

type Certificate = Extract<PolicyRequest, { readonly type: 'x509' }>;
const certificate = (over: Partial<Certificate> = {}): Certificate => ({
  type: 'x509',
  kind: 'workload',
  subject: spiffeSubject(web, ['web.test']),
  profile: 'short-lived',
  keyType: 'ec-p256',
  ttlSeconds: 3600,
  entryId: 'web',
  delegationId: null,
  ...over,
});
const jwt: PolicyRequest = {
  type: 'jwt',
  spiffeId: web,
  audience: ['api'],
  ttlSeconds: 300,
  entryId: 'web',
};
const policy = (...rules: readonly object[]) => ({
  version: 7,
  policy: unwrap(readPolicy(JSON.stringify({ meshcaPolicy: 1, rules }))),
});
/** The record of the certificate, without the decision. */
const act = (kind: string, more: object = {}): RecordedAct => ({
  timeMs: at * 1000 + 5,
  actor: agent.name,
  kind,
  subject: web.toString(),
  detail: { certificateKind: 'workload', profile: 'short-lived', entry: 'web', ...more },
});
const stating = (record: RecordedAct, detail: object): RecordedAct => ({
  ...record,
  detail: { ...record.detail, ...detail },
});
const allowAll = { name: 'all', effect: 'allow' };
const denyAll = { name: 'none', effect: 'deny' };

test('a request of the issuance becomes the facts of a policy', () => {
  assert.deepEqual(factsOf(certificate(), agent, at), {
    at,
    kind: 'workload',
    caller: 'agent',
    callerName: agent.name,
    spiffeId: web,
    dnsNames: ['web.test'],
    ips: [],
    audiences: undefined,
    profile: 'short-lived',
    keyType: 'ec-p256',
    ttlSeconds: 3600,
    entryId: 'web',
    delegationId: undefined,
  });
  assert.deepEqual(factsOf(jwt, agent, at), {
    at,
    kind: 'jwt-svid',
    caller: 'agent',
    callerName: agent.name,
    spiffeId: web,
    dnsNames: undefined,
    ips: undefined,
    audiences: ['api'],
    profile: undefined,
    keyType: undefined,
    ttlSeconds: 300,
    entryId: 'web',
    delegationId: undefined,
  });
  const names = { kind: 'names', dnsNames: ['a.test'], ips: ['10.0.0.1'] } as const;
  const endpoint = certificate({ kind: 'endpoint', profile: 'classic', subject: names });
  const facts = factsOf(endpoint, { class: 'admin', name: `${td}/a` }, at);
  assert.deepEqual(
    [facts?.spiffeId, facts?.dnsNames, facts?.ips, facts?.profile],
    [undefined, ['a.test'], ['10.0.0.1'], 'classic'],
  );
  const downstream = certificate({
    kind: 'authority',
    profile: 'downstream',
    subject: spiffeSubject(SpiffeId.of(td)),
  });
  const below = factsOf(downstream, { class: 'workload', name: `${td}/ca` }, at);
  assert.deepEqual([below?.kind, below?.spiffeId], ['downstream', undefined]);
});

test('a policy that denies everything touches no agent, no server and no authority of the CA', () => {
  const { decide } = policyOf(policy(denyAll), clock);
  const denied = certificateKinds.filter(
    (kind) => !decide(certificate({ kind, profile: 'root' }), agent).allowed,
  );
  assert.deepEqual(denied, ['workload', 'admin', 'delegated', 'token', 'endpoint', 'linkerd']);
  const downstream = certificate({ kind: 'authority', profile: 'downstream' });
  assert.equal(decide(downstream, { class: 'workload', name: 'x' }).allowed, false);
  assert.equal(decide(jwt, agent).allowed, false);
  const untouched = requesterClasses.filter(
    (each) => decide(certificate(), { class: each, name: 'x' }).allowed,
  );
  assert.deepEqual(untouched, ['node', 'server']);
});

test('what a policy allows, and what it denies, carries version, rule and all facts to its record', () => {
  const facts = factsOf(certificate(), agent, at);
  const [policyVersion, policyFacts] = [7, factsSha256(facts!)];
  const allowed = admit(policyOf(policy(allowAll), clock), certificate(), agent);
  assert.ok(allowed.ok);
  assert.equal(allowed.value.version, 7);
  const issued = act('certificate.issued');
  assert.deepEqual(decisionIn(stating(issued, allowed.value.detailOf(issued))), {
    type: 'decided',
    facts,
    allowed: true,
    version: 7,
    rule: 'all',
  });
  const denied = admit(policyOf(policy(denyAll), clock), certificate(), agent);
  assert.ok(!denied.ok && denied.error instanceof PolicyDenial);
  assert.equal(denied.error.code, 'POLICY_DENIED');
  assert.equal(denied.error.message, 'the rule none of the policy denies it');
  assert.deepEqual(denied.error.detail, { policyVersion, policyRule: 'none' });
  const refused = act('certificate.refused', { code: 'POLICY_DENIED' });
  const detail = denied.error.detailOf(refused);
  assert.equal(detail['policyFacts'], policyFacts);
  assert.deepEqual(decisionIn(stating(refused, detail)), {
    type: 'decided',
    facts,
    allowed: false,
    version: 7,
    rule: 'none',
  });
  const unmatched = admit(
    policyOf(policy({ ...allowAll, entries: ['db'] }), clock),
    certificate(),
    agent,
  );
  assert.deepEqual(unmatched.ok ? {} : unmatched.error.detail, { policyVersion });
});

test('an expression that can not be decided denies under a code of its own, with the rule', () => {
  const failing = { ...allowAll, when: 'request.path[3] == "x"' };
  const denied = admit(
    policyOf(policy(allowAll, { ...failing, name: 'x' }), clock),
    certificate(),
    agent,
  );
  assert.ok(!denied.ok);
  assert.equal(denied.error.code, 'POLICY_FAILED');
  assert.equal(
    denied.error.message,
    'the rule x of the policy could not be decided: it reads an item beyond the end of a list',
  );
  assert.equal(denied.error.detail.policyRule, 'x');
});

test('the built-in policy leaves the facts in records, so that a first policy can be tried on them', () => {
  const admitted = admit(builtInPolicy(clock), certificate(), agent);
  assert.ok(admitted.ok);
  const issued = act('certificate.issued');
  const detail = admitted.value.detailOf(issued);
  assert.deepEqual(Object.keys(detail).toSorted(), [
    'callerClass',
    'dnsNames',
    'keyType',
    'ttlSeconds',
  ]);
  assert.deepEqual(decisionIn(stating(issued, detail)), {
    type: 'decided',
    facts: factsOf(certificate(), agent, at),
    allowed: true,
    version: 0,
    rule: undefined,
  });
});

test('what is not subject to a policy leaves nothing in records', () => {
  for (const by of [builtInPolicy(clock), policyOf(policy(denyAll), clock)]) {
    const admitted = admit(by, certificate({ kind: 'agent' }), agent);
    assert.deepEqual(admitted.ok && admitted.value.detailOf(act('certificate.issued')), {});
  }
});

test('a policy decides by the time of the request', () => {
  const instants = { now: at };
  const { decide } = policyOf(
    policy({ ...allowAll, validUntil: new Date((at + 1) * 1000).toISOString() }),
    { now: () => instants.now },
  );
  assert.equal(decide(certificate(), agent).allowed, true);
  instants.now = at + 1;
  assert.equal(decide(certificate(), agent).allowed, false);
});
