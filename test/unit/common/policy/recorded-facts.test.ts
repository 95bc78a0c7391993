import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import {
  decisionIn,
  factsSha256,
  policyCallers,
  policyKinds,
  policyProfiles,
  PolicyReplay,
  unstatedFacts,
  type PolicyFacts,
  type RecordedAct,
} from '../../../../src/common/policy/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { keyTypes } from '../../../../src/common/x509/index.ts';

const names = fc.array(fc.domain(), { maxLength: 3 });
const ips = fc.array(fc.ipV4(), { maxLength: 3 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const web = SpiffeId.of('spiffe://mesh.test/ns/prod/web');

const id = (path: string) => fc.constant(`spiffe://mesh.test/shop/${path}`);
const ofToken = { tokenIssuer: fc.constant('gitlab'), tokenSubject: fc.string({ minLength: 1 }) };
/** What an EAB key adds: one of an operator, one for an SVID, and one for a token. */
const anyLater = fc.oneof(
  fc.constant({}),
  fc.record({ tenant: fc.constant('shop'), eabKeyId: fc.uuid() }),
  fc.record({ eabKeyId: fc.uuid(), exchangedBy: id('ci'), exchangedDelegation: fc.uuid() }),
  fc.record(ofToken),
  fc.record({
    ...{ tenant: fc.constant('shop'), eabKeyId: fc.uuid(), exchangedBy: id('job') },
    ...{ exchangedDelegation: fc.uuid(), ...ofToken },
  }),
);

/** Facts as the issuance makes them of a request. */
const anyFacts: fc.Arbitrary<PolicyFacts> = fc
  .record({
    later: anyLater,
    at: fc.integer({ min: 0, max: 4_000_000_000 }),
    kind: fc.constantFrom(...policyKinds),
    caller: fc.constantFrom(...policyCallers),
    callerName: fc.constantFrom('uid:0', 'spiffe://mesh.test/meshca/agent/n1', 'kubernetes:a/b/c'),
    dnsNames: names,
    ips,
    audiences: fc.array(fc.string(), { maxLength: 3 }),
    profile: fc.constantFrom(...policyProfiles),
    keyType: fc.constantFrom(...keyTypes),
    ttlSeconds: maybe(fc.integer({ min: 1, max: 1e8 })),
    entryId: maybe(fc.string({ minLength: 1 })),
    delegationId: maybe(fc.string({ minLength: 1 })),
  })
  .map(({ later, ...facts }): PolicyFacts => {
    const isJwt = facts.kind === 'jwt-svid';
    const isNames = facts.kind === 'endpoint' || facts.kind === 'linkerd';
    return {
      ...facts,
      ...later,
      spiffeId: isNames || facts.kind === 'downstream' ? undefined : web,
      dnsNames: isJwt ? undefined : facts.dnsNames,
      ips: isJwt ? undefined : isNames ? facts.ips : [],
      audiences: isJwt ? facts.audiences : undefined,
      profile: isJwt ? undefined : facts.kind === 'downstream' ? 'downstream' : facts.profile,
      keyType: isJwt ? undefined : facts.keyType,
    };
  });

/** The subject of a record, as `subjectText` makes it. */
function subjectOf({ spiffeId, kind, dnsNames = [], ips: addresses = [] }: PolicyFacts): string {
  if (kind === 'downstream') return 'spiffe://mesh.test';
  if (spiffeId !== undefined) return spiffeId.toString();
  const [name] = dnsNames;
  return name === undefined ? `ip:${addresses[0] ?? ''}` : `dns:${name}`;
}

/** The record of an issuance, with what it states in any case. */
function issuance(facts: PolicyFacts, cut: boolean): RecordedAct {
  const isJwt = facts.kind === 'jwt-svid';
  const isCa = facts.kind === 'downstream';
  return {
    timeMs: facts.at * 1000 + (cut ? 3000 : 20),
    actor: facts.callerName,
    kind: isJwt ? 'jwt.issued' : isCa ? 'authority.downstream' : 'certificate.issued',
    subject: subjectOf(facts),
    detail: {
      ...(isJwt
        ? { audience: facts.audiences }
        : {
            certificateKind: isCa ? 'authority' : facts.kind,
            profile: isCa ? 'authority' : facts.profile,
          }),
      ...(facts.entryId === undefined ? {} : { entry: facts.entryId }),
      ...(facts.delegationId === undefined ? {} : { delegation: facts.delegationId }),
      ...(cut && facts.ttlSeconds !== undefined ? { cutFromSeconds: facts.ttlSeconds } : {}),
    },
  };
}

/** A refusal that an operation recorded: it states nothing of the request. */
const refusal = (facts: PolicyFacts): RecordedAct => ({
  timeMs: facts.at * 1000,
  actor: facts.callerName,
  kind: 'request.refused',
  subject: 'some-entry',
  detail: { code: 'POLICY_DENIED', refusalId: 'r', operation: 'SignJwtSvid' },
});

const recorded = (act: RecordedAct, facts: PolicyFacts, more: object = {}): RecordedAct => ({
  ...act,
  detail: { ...act.detail, ...unstatedFacts(facts, act), ...more },
});

test('all facts of a decision come back from its record, with the digest that was decided', () => {
  fc.assert(
    fc.property(anyFacts, fc.boolean(), (facts, cut) => {
      for (const act of [issuance(facts, cut), refusal(facts)]) {
        const policyFacts = factsSha256(facts);
        const more = { policyVersion: 4, policyFacts, policyRule: 'all' };
        assert.deepEqual(decisionIn(recorded(act, facts, more)), {
          type: 'decided',
          facts,
          allowed: act.kind !== 'request.refused',
          version: 4,
          rule: 'all',
        });
      }
    }),
  );
});

test('no fact stands in a record twice', () => {
  fc.assert(
    fc.property(anyFacts, fc.boolean(), (facts, cut) => {
      const act = issuance(facts, cut);
      const values = Object.values(recorded(act, facts).detail).filter(
        (value) => typeof value === 'string' && value.length > 20,
      );
      assert.equal(new Set(values).size, values.length);
      for (const key of Object.keys(unstatedFacts(facts, act)))
        assert.ok(!Object.hasOwn(act.detail, key) || key === 'profile', key);
    }),
  );
});

test('a record without facts, or with other facts than the decided ones, is never guessed', () => {
  const facts: PolicyFacts = {
    at: 100,
    kind: 'workload',
    caller: 'agent',
    callerName: 'spiffe://mesh.test/meshca/agent/n1',
    spiffeId: web,
    dnsNames: [],
    ips: [],
    audiences: undefined,
    profile: 'short-lived',
    keyType: 'ec-p256',
    ttlSeconds: 3600,
    entryId: 'web',
    delegationId: undefined,
  };
  const older = issuance(facts, false);
  assert.deepEqual(decisionIn(older), { type: 'unknown', why: 'older' });
  const policyFacts = factsSha256(facts);
  assert.deepEqual(decisionIn(recorded(older, facts, { policyFacts, ttlSeconds: 60 })), {
    type: 'unknown',
    why: 'differs',
  });
  const none = { type: 'none' };
  assert.deepEqual(decisionIn({ ...older, detail: { certificateKind: 'agent' } }), none);
  assert.deepEqual(decisionIn({ ...older, kind: 'entry.created' }), none);
  const overloaded = { ...refusal(facts), detail: { code: 'RATE_LIMITED' } };
  assert.deepEqual(decisionIn(overloaded), none);
});

test('a record from before the later facts keeps its digest, and has what it states of them', () => {
  const facts: PolicyFacts = {
    ...{ at: 100, kind: 'endpoint', caller: 'acme', callerName: 'acme:a', spiffeId: undefined },
    ...{ dnsNames: ['www.shop.test'], ips: [], audiences: undefined, profile: 'short' },
    ...{ keyType: 'ec-p256', ttlSeconds: 60, entryId: undefined, delegationId: undefined },
  };
  // what the reason of an order and its tenant have said since before
  const more = { tenant: 'shop', eabKey: 'k', policyFacts: factsSha256(facts) };
  const decided = decisionIn(recorded(issuance(facts, false), facts, more));
  assert.equal(decided.type, 'decided');
  assert.deepEqual(decided.type === 'decided' && decided.facts, {
    ...facts,
    ...{ tenant: 'shop', eabKeyId: 'k' },
  });
  const ofToken = { method: 'token', issuer: 'ci', tokenSubject: 'repo' };
  const token = decisionIn(recorded(issuance(facts, false), facts, ofToken));
  assert.deepEqual(token.type === 'decided' && token.facts, facts);
});

test('whatever a record states, reading and replaying it throws nothing', () => {
  const policy = unwrap(
    readPolicy('{meshcaPolicy: 1, rules: [{name: all, effect: allow, ttl: {max: 1h}}]}'),
  );
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom(...policyKinds, ...policyCallers));
  const detail = fc.dictionary(
    fc.constantFrom(
      ...['callerClass', 'policyKind', 'certificateKind', 'policyAt', 'policyFacts', 'audience'],
      ...['spiffeId', 'dnsNames', 'ips', 'ttlSeconds', 'cutFromSeconds', 'profile', 'keyType'],
      ...['entry', 'delegation', 'code', 'policyVersion', 'policyRule', 'callerName'],
      ...['tenant', 'eabKey', 'exchangedBy', 'tokenIssuer', 'tokenSubject'],
    ),
    value,
  );
  const kinds = ['certificate.issued', 'jwt.issued', 'authority.downstream', 'request.refused'];
  fc.assert(
    fc.property(detail, fc.constantFrom(...kinds), fc.string(), (stated, kind, text) => {
      const replay = new PolicyReplay(policy);
      const act = { timeMs: 5, actor: text, kind, subject: `spiffe://${text}`, detail: stated };
      replay.add(1, act);
      assert.equal(replay.totals().records, 1);
    }),
    { numRuns: 2000 },
  );
});
