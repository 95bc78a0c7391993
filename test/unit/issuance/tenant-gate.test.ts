import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import {
  NameOwners,
  spiffeSubject,
  type CertificateKind,
  type NameOwner,
  type Requester,
  type Subject,
} from '../../../src/domain/index.ts';
import {
  admit,
  PolicyInForce,
  TenantGate,
  type PolicyRequest,
} from '../../../src/issuance/index.ts';
import { quotaUsed, PolicyDenial } from '../../../src/issuance/policy.ts';
import { factsOf } from '../../../src/issuance/policy-request.ts';

const td = 'spiffe://mesh.test';
const agent: Requester = { class: 'agent', name: `${td}/meshca/agent/n` };
const tenant = (name: string, more: Partial<NameOwner> = {}): NameOwner => ({
  name,
  dnsSuffixes: [`${name}.test`],
  spiffePrefixes: [`${td}/${name}/`],
  quotaCertificates: 2,
  quotaSeconds: 3600,
  state: 'active',
  ...more,
});
let owners = new NameOwners([tenant('a'), tenant('b', { quotaCertificates: 0 })]);
const inForce = new PolicyInForce(
  { now: () => 1_000 },
  { denied: () => assert.fail('the policy denies nothing'), failed: () => {} },
);
const policy = new TenantGate(inForce, () => owners);
const x509 = (
  kind: CertificateKind,
  subject: Subject,
  more: Partial<Extract<PolicyRequest, { type: 'x509' }>> = {},
): PolicyRequest => ({
  type: 'x509',
  kind,
  subject,
  profile: 'short-lived',
  keyType: 'ec-p256',
  ttlSeconds: 60,
  entryId: null,
  delegationId: null,
  ...more,
});
const svid = (path: string, dnsNames: readonly string[] = []): Subject =>
  spiffeSubject(SpiffeId.of(`${td}${path}`), dnsNames);
const names = (...dnsNames: string[]): Subject => ({ kind: 'names', dnsNames, ips: [] });
const codeOf = (request: PolicyRequest, caller = agent): string => {
  const admitted = admit(policy, request, caller);
  return admitted.ok ? (admitted.value.tenant ?? 'nobody') : admitted.error.code;
};

test('names of a tenant are refused to other owners, whatever kind of certificate has them', () => {
  for (const kind of ['workload', 'admin', 'delegated', 'token'] as const) {
    assert.equal(codeOf(x509(kind, svid('/a/web', ['www.a.test']))), 'a', kind);
    assert.equal(codeOf(x509(kind, svid('/web', ['www.a.test']))), 'NAME_OF_OTHER_TENANT', kind);
    assert.equal(codeOf(x509(kind, svid('/web', ['free.test']))), 'nobody', kind);
  }
  const claim = { by: 'spiffe-id', id: `${td}/b/web` } as const;
  const endpoint = (more: object = {}): PolicyRequest => x509('endpoint', names('a.test'), more);
  assert.equal(codeOf(endpoint({ claim })), 'NAME_OF_OTHER_TENANT');
  assert.equal(codeOf(endpoint()), 'NAME_OF_OTHER_TENANT');
  assert.equal(codeOf(endpoint({ claim: { by: 'operator' } })), 'a');
});

test('certificates of the server, its agents and the proxies of Linkerd are no matter of tenants', () => {
  for (const kind of ['server', 'agent', 'linkerd'] as const)
    assert.equal(codeOf(x509(kind, names('www.a.test'))), 'nobody', kind);
});

test('nothing is issued for an ended tenant: certificates, tokens, and authorities below', () => {
  owners = new NameOwners([tenant('a', { state: 'ended' })]);
  const claim = { by: 'spiffe-id', id: `${td}/a/web` } as const;
  const jwt: PolicyRequest = {
    ...{ type: 'jwt', spiffeId: SpiffeId.of(`${td}/a/web`), audience: ['x'] },
    ...{ ttlSeconds: 60, entryId: 'e' },
  };
  const downstream = x509('authority', svid(''), { profile: 'downstream', claim });
  for (const request of [x509('workload', svid('/a/web')), jwt, downstream])
    assert.equal(codeOf(request), 'TENANT_ENDED', request.type);
  assert.equal(codeOf(x509('workload', svid('/b/web'))), 'nobody', 'it was deleted');
  owners = new NameOwners([tenant('a'), tenant('b', { quotaCertificates: 0 })]);
});

test('a certificate takes a place in the quota of its tenant and of what granted it', () => {
  const place = {
    counter: 'eab-key:1',
    of: 'eab-key',
    rule: '1',
    limit: 1,
    perSeconds: 60,
  } as const;
  const admitted = admit(policy, x509('workload', svid('/a/web'), { places: [place] }), agent);
  assert.ok(admitted.ok);
  const { value } = admitted;
  assert.deepEqual(
    value.places.map(({ counter }) => counter),
    ['tenant:a', 'eab-key:1'],
  );
  assert.deepEqual(value.rights.map(({ kind }) => kind).slice(-2), ['quota', 'quota']);
  const event = { timeMs: 5_000, actor: '', kind: 'certificate.issued', subject: '', detail: {} };
  const { tenant: name, quotaPlaces } = value.detailOf(event);
  assert.deepEqual([name, quotaPlaces], ['a', ['tenant:a 3605', 'eab-key:1 65']]);
  const used = (ends: readonly number[]) =>
    quotaUsed(value, { ends: (counter) => (counter === 'tenant:a' ? ends : []) }, 10);
  assert.equal(used([20]), undefined);
  const full = used([20, 30]);
  assert.ok(full?.ok === false);
  assert.equal(full.error.code, 'TENANT_QUOTA_USED');
});

test('while nobody knows the owners, nothing is issued that is subject to tenants', () => {
  const unknown = new TenantGate(inForce, () => {
    throw new PkiError('OBJECT_NOT_IN_LOG', 'a tenant was altered');
  });
  const codes = (['workload', 'agent'] as const).map((kind) => {
    const admitted = admit(unknown, x509(kind, svid('/web')), agent);
    return admitted.ok ? 'ok' : admitted.error.code;
  });
  assert.deepEqual(codes, ['OBJECT_NOT_IN_LOG', 'ok']);
});

test('a tenant without a quota, and a JWT-SVID, take no place', () => {
  const unlimited = admit(policy, x509('workload', svid('/b/web')), agent);
  assert.ok(unlimited.ok);
  assert.deepEqual([unlimited.value.tenant, unlimited.value.places], ['b', []]);
});

test('the refusal of a name says nothing of a policy', () => {
  const refused = admit(policy, x509('workload', svid('/web', ['www.a.test'])), agent);
  assert.ok(!refused.ok && refused.error instanceof PolicyDenial);
  const event = { timeMs: 5_000, actor: '', kind: 'certificate.refused', subject: '', detail: {} };
  assert.deepEqual([refused.error.detail, refused.error.detailOf(event)], [{}, {}]);
});

test('the policy sees whose the names are, and by which EAB key they are asked for', () => {
  const seen: (PolicyRequest | undefined)[] = [];
  const gate = new TenantGate(
    {
      decide: (request) => {
        seen.push(request);
        return { allowed: true, version: 1 };
      },
      preview: () => assert.fail('nobody asks beforehand'),
    },
    () => owners,
  );
  const requests = [
    x509('workload', svid('/a/web')),
    x509('workload', svid('/nobody/web')),
    x509('agent', svid('/meshca/agent/n')),
    x509('endpoint', names('www.a.test'), { claim: { by: 'tenant', name: 'a' } }),
  ];
  for (const request of requests) gate.decide(request, agent);
  assert.deepEqual(
    seen.map((request) => request?.tenant),
    ['a', undefined, undefined, 'a'],
  );
  const source = {
    ...{ by: 'token', spiffeId: `${td}/a/ci`, delegationId: 'd', issuer: 'gitlab' },
    ...{ subject: 'project:42', use: 'ab', entryId: 'e', entryRevision: 1 },
  } as const;
  const asked = { ...requests[3], tenant: 'a', eabKey: { id: 'k', source } } as PolicyRequest;
  const facts = factsOf(asked, { class: 'acme', name: 'acme:a' }, 5);
  const { tenant: owner, eabKeyId, exchangedBy, exchangedDelegation } = facts ?? {};
  assert.deepEqual(
    [owner, eabKeyId, exchangedBy, exchangedDelegation, facts?.tokenIssuer, facts?.tokenSubject],
    ['a', 'k', `${td}/a/ci`, 'd', 'gitlab', 'project:42'],
  );
});
