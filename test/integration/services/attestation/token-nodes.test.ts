import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync, sha256Hex } from '../../../../src/common/x509/index.ts';
import { startAgent, type RunningAgent } from '../../../../sidecar/compose.ts';
import { agentConfigSchema } from '../../../../sidecar/config.ts';
import { agentEnvironment } from '../../../support/agent-environment.ts';
import {
  attestByToken,
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../../support/server.ts';
import { startTokenIssuer, type TokenIssuer } from '../../../support/token-issuer.ts';
import { until } from '../../../support/until.ts';

const pod = { name: 'agent-x', uid: '5d2a3c1e-0000-4000-8000-000000000001' };
const node = { name: 'node-a', uid: '5d2a3c1e-0000-4000-8000-000000000002' };

describe('nodes that attest by tokens of their cluster or platform', () => {
  let cluster: TokenIssuer;
  let west: TokenIssuer;
  let cloud: TokenIssuer;
  let lab: TokenIssuer;
  let server: TestServer;
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-token-nodes-'));
    [cluster, west, cloud, lab] = await Promise.all([
      startTokenIssuer(),
      startTokenIssuer(),
      startTokenIssuer(),
      startTokenIssuer(),
    ]);
    const issuer = (name: string, type: string, from: TokenIssuer): object => {
      writeFileSync(join(dir, `${name}.pem`), from.caPem);
      return {
        ...{ name, type, issuer: from.url, purposes: ['node'], audiences: ['meshca-node'] },
        caFile: join(dir, `${name}.pem`),
      };
    };
    server = await startTestServer({
      config: {
        attestation: {
          k8sPsat: { serviceAccounts: ['meshca:agent'] },
          oidc: { requiredSelectors: ['oidc:project:mine', 'oidc:issuer:cloud'] },
        },
        tokens: {
          issuers: [
            issuer('east', 'kubernetes', cluster),
            issuer('west', 'kubernetes', west),
            issuer('cloud', 'oidc', cloud),
            issuer('lab', 'oidc', lab),
          ],
        },
      },
    });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    for (const each of [cluster, west, cloud, lab]) await each?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const podToken = (
    over: { account?: string; uid?: string; aud?: string } = {},
    of = cluster,
  ): Promise<string> =>
    of.token({
      sub: `system:serviceaccount:meshca:${over.account ?? 'agent'}`,
      aud: over.aud ?? 'meshca-node',
      'kubernetes.io': {
        namespace: 'meshca',
        serviceaccount: { name: over.account ?? 'agent', uid: 'u1' },
        pod,
        node: { ...node, uid: over.uid ?? node.uid },
      },
    });
  const machineToken = (claims: object = {}): Promise<string> =>
    cloud.token({ sub: 'machine-7', aud: 'meshca-node', project: 'mine', ...claims });
  const psat = (token: string, in_ = 'east'): string => JSON.stringify({ cluster: in_, token });
  const attest = async (
    type: string,
    payload: string,
    key?: Parameters<typeof attestByToken>[2],
  ): Promise<Credential> => attestByToken(server.client(), payload, { type, ...key });
  const refusal = (type: string, payload: string): Promise<string> => codeOf(attest(type, payload));

  const agentWith = async (name: string, attestation: object): Promise<RunningAgent> =>
    startAgent(
      agentEnvironment(
        agentConfigSchema.parse({
          trustDomain: testTrustDomain,
          serverAddress: `127.0.0.1:${server.server.port}`,
          dataDir: join(dir, name),
          bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
          attestation,
          workloadApi: { socketPath: join(dir, `${name}.w`) },
          localApi: { socketPath: join(dir, `${name}.l`) },
          ops: { port: 0 },
          connection: { backoffBaseMs: 50, backoffCapMs: 200 },
        }),
      ),
    );

  test('agents of a pod and of a machine join by the tokens in their files', async () => {
    const file = (name: string, token: string): string => {
      writeFileSync(join(dir, name), `${token}\n`, { mode: 0o600 });
      return join(dir, name);
    };
    const tokenPath = file('pod.jwt', await podToken({ uid: 'joined' }));
    await using inPod = await agentWith('p', { k8sPsat: { cluster: 'east', tokenPath } });
    await using onMachine = await agentWith('m', {
      oidc: { tokenPath: file('machine.jwt', await machineToken()) },
    });
    for (const agent of [inPod, onMachine])
      await until(() => agent.status().connected === true, 'the session');
    const { agents } = await server.admin('Agents/ListAgents');
    const ofType = (type: string) =>
      agents.find(({ attestationType }) => attestationType === type) as (typeof agents)[0];
    assert.equal(
      ofType('k8s_psat').spiffeId,
      'spiffe://mesh.test/meshca/agent/k8s_psat/east.joined',
    );
    assert.deepEqual(ofType('k8s_psat').selectors, [
      'k8s_psat:cluster:east',
      'k8s_psat:agent_ns:meshca',
      'k8s_psat:agent_sa:agent',
      'k8s_psat:agent_pod_name:agent-x',
      `k8s_psat:agent_pod_uid:${pod.uid}`,
      'k8s_psat:agent_node_name:node-a',
      'k8s_psat:agent_node_uid:joined',
    ]);
    assert.match(ofType('oidc').spiffeId, /\/meshca\/agent\/oidc\/[0-9a-f]{32}$/);
    assert.ok(ofType('oidc').selectors.includes('oidc:project:mine'));
    assert.ok(ofType('oidc').selectors.includes('oidc:issuer:cloud'));
  });

  test('a token lets one node in: another key is refused, and a lost answer comes again', async () => {
    const { privateKey: key } = await generateKeyPairAsync('ec-p256');
    for (const [type, payload] of [
      ['k8s_psat', psat(await podToken({ uid: 'once' }))],
      ['oidc', await machineToken({ sub: 'once' })],
    ] as const) {
      const first = await attest(type, payload, { key });
      assert.equal(await refusal(type, payload), 'TOKEN_REPLAYED');
      assert.equal((await attest(type, payload, { key })).serial, first.serial);
    }
  });

  test('a new token of the same node begins a new session, and the old one ends', async () => {
    const first = await attest('k8s_psat', psat(await podToken({ uid: 'again' })));
    const second = await attest('k8s_psat', psat(await podToken({ uid: 'again' })));
    assert.equal(second.spiffeId, first.spiffeId);
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const renewal = unaryCall(server.client(first), '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
      requestId: uuidv7(),
      csrDer: createCsr(privateKey),
      agentVersion: 'test',
    });
    assert.equal(await codeOf(renewal), 'AGENT_SUPERSEDED');
    await server.admin('Agents/BanAgent', { spiffeId: first.spiffeId, reason: 'stolen' });
    assert.equal(await refusal('k8s_psat', psat(await podToken({ uid: 'again' }))), 'AGENT_BANNED');
  });

  test('a cluster that states the node of another one gets no agent of that cluster', async () => {
    const honest = await attest('k8s_psat', psat(await podToken({ uid: 'shared' })));
    const posing = await attest('k8s_psat', psat(await podToken({ uid: 'shared' }, west), 'west'));
    assert.notEqual(posing.spiffeId, honest.spiffeId);
    const { agent } = await server.admin('Agents/GetAgent', { spiffeId: honest.spiffeId });
    assert.equal(agent?.serial, honest.serial, 'the session of the honest node goes on');
  });

  test('other accounts, clusters, audiences and claims let no node in', async () => {
    const good = await podToken();
    assert.equal(
      await refusal('k8s_psat', psat(await podToken({ account: 'web' }))),
      'ATTESTATION_FAILED',
    );
    assert.equal(await refusal('k8s_psat', psat(good, 'west')), 'TOKEN_ISSUER_UNKNOWN');
    assert.equal(await refusal('k8s_psat', psat(good, 'north')), 'TOKEN_ISSUER_UNKNOWN');
    assert.equal(await refusal('k8s_psat', good), 'ATTESTATION_FAILED');
    assert.equal(
      await refusal('k8s_psat', psat(await podToken({ aud: 'meshca' }))),
      'TOKEN_AUDIENCE_WRONG',
    );
    assert.equal(await refusal('oidc', good), 'ATTESTATION_FAILED');
    assert.equal(
      await refusal('oidc', await machineToken({ project: 'other' })),
      'ATTESTATION_FAILED',
    );
    // a claim does not pass for the name of the issuer
    const claims = { sub: 'x', aud: 'meshca-node', project: 'mine', issuer: 'cloud' };
    const posing = await lab.token(claims);
    assert.equal(await refusal('oidc', posing), 'ATTESTATION_FAILED');
    const forged = await attest('oidc', await machineToken({ sub: 'x', issuer: 'east' }));
    const { agent } = await server.admin('Agents/GetAgent', { spiffeId: forged.spiffeId });
    assert.deepEqual(
      agent?.selectors.filter((each) => each.startsWith('oidc:issuer:')),
      ['oidc:issuer:cloud'],
    );
  });
});
