import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import { silentLogger, systemClock, type Clock } from '../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../src/common/x509/index.ts';
import { readPem } from '../../src/compose/settings.ts';
import {
  tokensSchema,
  tokenVerifier,
  type TokenDemand,
  type TokenVerifier,
} from '../../src/services/tokens/index.ts';
import { codeOf, startTestServer, unaryCall, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { startKubernetesCluster, type KubernetesCluster } from './kubernetes-cluster.ts';

const audience = 'meshca';
const web = ['shop', 'web'] as const;

describe('service account tokens of a real API server of Kubernetes', () => {
  let cluster: KubernetesCluster;
  let dir: string;
  let own: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-tokens-'));
    cluster = await startKubernetesCluster();
    const { api } = cluster;
    for (const namespace of ['shop', 'meshca']) {
      await api('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
      const name = namespace === 'shop' ? 'web' : 'server';
      await api('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } });
    }
    // what the guide for Kubernetes asks for
    await api('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      metadata: { name: 'meshca-token-review' },
      roleRef: {
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'ClusterRole',
        name: 'system:auth-delegator',
      },
      subjects: [{ kind: 'ServiceAccount', name: 'server', namespace: 'meshca' }],
    });
    own = join(dir, 'own-token');
    writeFileSync(own, await cluster.token(['meshca', 'server'], {}));
  });
  after(async () => {
    await cluster?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const settings = (over: object = {}): object => ({
    name: 'east',
    type: 'kubernetes',
    issuer: cluster.issuer,
    purposes: ['istio', 'pipeline'],
    audiences: [audience],
    caFile: cluster.caFile,
    review: { apiUrl: cluster.apiUrl, tokenFile: own },
    ...over,
  });
  const open = (over: object = {}, clock: Clock = systemClock): TokenVerifier =>
    tokenVerifier(tokensSchema.parse({ issuers: [settings(over)] }), {
      clock,
      logger: silentLogger,
      readFile: readPem,
    });
  const byKeys = (): object => ({
    review: undefined,
    keys: { url: `${cluster.apiUrl}/openid/v1/jwks`, tokenFile: own },
  });
  const verdict = async (
    verifier: TokenVerifier,
    token: string,
    demand: TokenDemand = { purpose: 'istio' },
  ): Promise<string> => {
    const verified = await verifier.verify(token, demand);
    return verified.ok ? 'accepted' : verified.error.code;
  };
  const newPod = async (name: string): Promise<{ name: string; uid: string }> => {
    const { metadata } = await cluster.api('POST', '/api/v1/namespaces/shop/pods', {
      metadata: { name },
      spec: {
        serviceAccountName: 'web',
        automountServiceAccountToken: false,
        containers: [{ name: 'web', image: 'web' }],
      },
    });
    return { name, uid: metadata.uid };
  };

  test('a review and the keys say the same of a pod: namespace, account, pod and its UID', async () => {
    const pod = await newPod('same');
    const token = await cluster.token(web, { audiences: [audience, 'other'], pod });
    for (const over of [{}, byKeys()]) {
      const verifier = open(over);
      const verified = await verifier.verify(token, { purpose: 'istio' });
      assert.ok(verified.ok, verified.ok ? '' : verifier.standings()[0]?.reason);
      const { kubernetes, subject } = verified.value;
      assert.equal(subject, 'system:serviceaccount:shop:web');
      assert.deepEqual(
        [kubernetes?.namespace, kubernetes?.serviceAccount, kubernetes?.pod, kubernetes?.node],
        ['shop', 'web', pod, undefined],
      );
    }
  });

  test('a token for another audience is refused', async () => {
    const pod = await newPod('audience');
    const token = await cluster.token(web, { audiences: ['vault'], pod });
    assert.equal(await verdict(open(), token), 'TOKEN_AUDIENCE_WRONG');
    assert.equal(await verdict(open(byKeys()), token), 'TOKEN_AUDIENCE_WRONG');
    // the same answer from the API server itself, where it alone is asked
    const { status } = await cluster.api('POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
      spec: { token, audiences: [audience] },
    });
    assert.notEqual(status.authenticated, true);
  });

  test('a token that is bound to no pod is refused, unless the configuration allows it', async () => {
    const token = await cluster.token(web, { audiences: [audience] });
    for (const over of [{}, byKeys()]) {
      assert.equal(await verdict(open(over), token), 'TOKEN_NOT_BOUND');
      assert.equal(await verdict(open({ ...over, allowUnbound: true }), token), 'accepted');
    }
  });

  test('the token of a deleted pod is refused by a review, and by the keys counts until its end', async () => {
    const pod = await newPod('deleted');
    const token = await cluster.token(web, { audiences: [audience], pod });
    assert.equal(await verdict(open(), token), 'accepted');
    await cluster.api('DELETE', '/api/v1/namespaces/shop/pods/deleted?gracePeriodSeconds=0');
    // an API server remembers for ten seconds what it said of a token
    await until(async () => (await verdict(open(), token)) === 'TOKEN_REFUSED');
    assert.equal(await verdict(open(byKeys()), token), 'accepted');
  });

  test('an ended token is refused by the server, and by the API server where our clock is slow', async () => {
    const pod = await newPod('ended');
    const good = await cluster.token(web, { audiences: [audience], pod });
    const now = systemClock.now();
    const ended = await new SignJWT({
      ...decodeJwt(good),
      iat: now - 700,
      nbf: now - 700,
      exp: now - 100,
    })
      .setProtectedHeader({ alg: 'RS256', ...decodeProtectedHeader(good) })
      .sign(cluster.signingKey);
    assert.equal(await verdict(open(), ended), 'TOKEN_EXPIRED');
    const slow: Clock = { ...systemClock, now: () => now - 200 };
    assert.equal(await verdict(open({}, slow), ended), 'TOKEN_REFUSED');
    assert.equal(await verdict(open(), good), 'accepted');
  });

  test('without the right to create reviews the server can not tell: an outage, with the reason', async () => {
    const token = await cluster.token(web, { audiences: [audience], pod: await newPod('rights') });
    const weak = join(dir, 'weak-token');
    writeFileSync(weak, await cluster.token(web, {}));
    const verifier = open({ review: { apiUrl: cluster.apiUrl, tokenFile: weak } });
    assert.equal(await verdict(verifier, token), 'TOKEN_ISSUER_UNREACHABLE');
    assert.match(verifier.standings()[0]?.reason ?? '', /status 403/);
  });

  test('a pod gets a certificate by its token and an entry, once, and none after its deletion', async () => {
    await using server: TestServer = await startTestServer({
      config: { tokens: { issuers: [settings()] } },
    });
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: 'spiffe://mesh.test/ns/{k8s.ns}/sa/{k8s.sa}',
          parentId: 'spiffe://mesh.test/meshca/token-issuer/east',
          selectors: ['k8s:ns:shop'],
          placeholders: [
            { placeholder: 'k8s.ns', allowed: ['shop'] },
            { placeholder: 'k8s.sa', allowed: ['web'] },
          ],
        },
      ],
    });
    assert.equal(results[0]?.problem?.message, undefined);
    const issue = async (token: string) => {
      const { privateKey } = await generateKeyPairAsync('ec-p256');
      return unaryCall(server.client(), '/meshca.issuer.v1.Pipelines/IssueWithToken', {
        token,
        csrDer: createCsr(privateKey),
      });
    };
    const pod = await newPod('job');
    const [first, second] = await Promise.all(
      [1, 2].map(() => cluster.token(web, { audiences: [audience], pod })),
    );
    assert.equal((await issue(first as string)).spiffeId, 'spiffe://mesh.test/ns/shop/sa/web');
    assert.equal(await codeOf(issue(first as string)), 'TOKEN_REPLAYED');
    await cluster.api('DELETE', '/api/v1/namespaces/shop/pods/job?gracePeriodSeconds=0');
    // the API server hears of the deletion through its watch
    const review = { purpose: 'pipeline' } as const;
    await until(async () => (await verdict(open(), second as string, review)) === 'TOKEN_REFUSED');
    assert.equal(await codeOf(issue(second as string)), 'TOKEN_REFUSED');
  });
});
