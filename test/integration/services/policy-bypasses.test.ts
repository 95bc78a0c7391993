import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { Client } from '@grpc/grpc-js';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr } from '../../../src/common/x509/index.ts';
import { context, oid, sequence } from '../../../src/common/x509/der-writer.ts';
import { statedCsr } from '../../support/csr.ts';
import {
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';

const td = `spiffe://${testTrustDomain}`;
const svids = '/meshca.issuer.v1.AgentIssuer/SignX509Svids';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const csrDer = createCsr(privateKey);
const selectors = [{ type: 'unix', value: 'uid:1234' }];

let server: TestServer;
let agent: Credential;
let asAgent: Client;
let asDelegate: Client;
let version = 0;

before(async () => {
  server = await startTestServer();
  agent = await server.joinAgent('node-1');
  asAgent = server.client(agent);
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'web', spiffeId: `${td}/web`, parentId: agent.spiffeId, selectors: ['unix:uid:1234'] },
      {
        id: 'named',
        spiffeId: `${td}/named`,
        parentId: agent.spiffeId,
        selectors: ['unix:uid:1234'],
        dnsNames: ['web.corp.test', 'vault.corp.test'],
      },
    ],
  });
  const clientId = `${td}/control-plane`;
  await server.admin('Delegations/CreateDelegation', {
    delegation: { clientId, patterns: [`${td}/ns/**`], maxTtlSeconds: 3600 },
  });
  asDelegate = server.client(await server.mint(clientId));
});
after(() => server?.[Symbol.asyncDispose]());

async function activate(...rules: readonly object[]): Promise<void> {
  const text = JSON.stringify({ meshcaPolicy: 1, rules });
  await server.admin('Policies/ActivatePolicy', { text, version, reason: 'a test' });
  version += 1;
}
const all = { name: 'all', effect: 'allow' };
const no = (conditions: object) => ({ name: 'no', effect: 'deny', ...conditions });

interface Answer {
  readonly refusal?: { readonly code: string } | null;
  readonly svid?: { readonly serial: string; readonly chainDer: readonly Buffer[] } | null;
}
async function asked(item: object = {}): Promise<Answer> {
  const stated = { requestId: uuidv7(), entryId: 'web', csrDer, selectors, ...item };
  const { results } = await unaryCall(asAgent, svids, { items: [stated] });
  return (results as Answer[])[0] ?? {};
}
const answerTo = async (item: object = {}): Promise<string> => {
  const { refusal } = await asked(item);
  return refusal?.code ?? 'issued';
};
const jwt = (audience: string[]): Promise<string> =>
  codeOf(
    unaryCall(asAgent, '/meshca.issuer.v1.AgentIssuer/SignJwtSvid', {
      ...{ requestId: uuidv7(), entryId: 'web', audience, ttlSeconds: 60, selectors },
    }),
  );

test('a renewal, and the repeat of an answered request, are decided by the policy of now', async () => {
  await activate(all);
  const requestId = uuidv7();
  const { svid } = await asked({ requestId });
  assert.ok(svid);
  assert.equal(await answerTo({ requestId }), 'issued');
  await activate(no({ entries: ['web'] }), all);
  assert.equal(await answerTo({ replacesSerial: svid.serial }), 'POLICY_DENIED');
  assert.equal(await answerTo({ requestId }), 'POLICY_DENIED');
  assert.equal(await jwt(['api']), 'POLICY_DENIED');
  const renewed = unaryCall(asAgent, '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
    requestId: uuidv7(),
    csrDer: createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
  });
  assert.equal(await codeOf(renewed), 'resolved');
  asAgent = server.client(agent);
});

test('one denied item of a batch is denied alone, and each of its names counts', async () => {
  await activate(no({ dnsNames: ['vault.corp.test'] }), all);
  const items = ['named', 'web'].map((entryId) => ({
    requestId: uuidv7(),
    entryId,
    csrDer,
    selectors,
  }));
  const { results } = await unaryCall(asAgent, svids, { items });
  assert.deepEqual(
    (results as Answer[]).map(({ refusal }) => refusal?.code ?? 'issued'),
    ['POLICY_DENIED', 'issued'],
  );
  await activate({ ...all, dnsNames: ['web.corp.test'] });
  assert.equal(await answerTo({ entryId: 'named' }), 'POLICY_DENIED');
});

test('names that a request writes into its CSR reach no certificate past the policy', async () => {
  await activate(all);
  const otherName = context(0, oid('1.3.6.1.4.1.311.20.2.3'), context(0, sequence()));
  const directoryName = context(4, sequence());
  for (const stated of [
    { ips: ['10.0.0.1'] },
    { dnsSans: ['*.corp.test'] },
    { dnsSans: ['vault.corp.test'] },
    { uriSans: [`${td}/boss`] },
    { emails: ['boss@corp.test'] },
    { others: [otherName] },
    { others: [directoryName] },
    { commonName: '10.0.0.1' },
  ]) {
    const { svid, refusal } = await asked({ csrDer: statedCsr(privateKey, stated) });
    const what = JSON.stringify(stated);
    if (svid === null || svid === undefined) {
      assert.match(refusal?.code ?? '', /^CSR_/, what);
      continue;
    }
    const leaf = new X509Certificate(svid.chainDer[0] as Buffer);
    assert.equal(leaf.subjectAltName, `URI:${td}/web`, what);
    assert.equal(leaf.subject, undefined, what);
  }
});

test('a lifetime by the default of an entry, and audiences, are within the reach of the policy', async () => {
  await activate({ ...all, kinds: ['workload'], ttl: { max: '10m' } });
  assert.equal(await answerTo(), 'POLICY_DENIED');
  assert.equal(await answerTo({ ttlSeconds: 601 }), 'POLICY_DENIED');
  assert.equal(await answerTo({ ttlSeconds: 600 }), 'issued');
  assert.equal(await answerTo({ ttlSeconds: 10 ** 9, clampTtl: true }), 'POLICY_DENIED');
  await activate({ ...all, audiences: ['api'] });
  assert.equal(await jwt(['api']), 'resolved');
  assert.equal(await jwt(['api', 'db']), 'POLICY_DENIED');
});

test('a control plane and an operator are decided by the same rules', async () => {
  await activate(no({ spiffeIds: [`${td}/ns/prod/**`] }), all);
  const sign = (path: string): Promise<string> =>
    codeOf(
      unaryCall(asDelegate, '/meshca.signing.v1.Signing/Sign', {
        requestId: uuidv7(),
        spiffeId: `${td}${path}`,
        csrDer,
      }),
    );
  assert.equal(await sign('/ns/prod/web'), 'POLICY_DENIED');
  assert.equal(await sign('/ns/test/web'), 'resolved');
  assert.equal(await codeOf(server.mint(`${td}/ns/prod/web`)), 'POLICY_DENIED');
  assert.equal(await codeOf(server.mint(`${td}/ns/prod/web`, { admin: true })), 'POLICY_DENIED');
});
