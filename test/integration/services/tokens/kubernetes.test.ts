import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { JWTPayload } from 'jose';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { selectorText } from '../../../../src/common/spiffe/index.ts';
import { readPem } from '../../../../src/compose/settings.ts';
import {
  tokensSchema,
  tokenVerifier,
  type TokenVerifier,
  type VerifiedToken,
} from '../../../../src/services/tokens/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { startTokenIssuer, type TokenIssuer } from '../../../support/token-issuer.ts';
import { until } from '../../../support/until.ts';

const account = 'system:serviceaccount:shop:web';
const pod = { name: 'web-0', uid: '5d2a3c1e-0000-4000-8000-000000000001' };
const node = { name: 'node-a', uid: '5d2a3c1e-0000-4000-8000-000000000002' };
const bound: JWTPayload = {
  sub: account,
  aud: ['istio-ca'],
  'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'web', uid: 'u1' }, pod, node },
};
const demand = { purpose: 'istio', audiences: ['istio-ca'] } as const;

/** What an API server answers to a review. The real one is asked in test/interop. */
const reviewed = (over: object = {}, extra: object = {}): object => ({
  authenticated: true,
  audiences: ['istio-ca'],
  user: {
    username: account,
    uid: 'u1',
    groups: ['system:serviceaccounts'],
    extra: {
      'authentication.kubernetes.io/pod-name': [pod.name],
      'authentication.kubernetes.io/pod-uid': [pod.uid],
      'authentication.kubernetes.io/node-name': [node.name],
      'authentication.kubernetes.io/node-uid': [node.uid],
      ...extra,
    },
  },
  ...over,
});

describe('service account tokens of a cluster', () => {
  let issuer: TokenIssuer;
  let dir: string;
  let verifier: TokenVerifier;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-tokens-'));
    issuer = await startTokenIssuer();
    writeFileSync(join(dir, 'ca.pem'), issuer.caPem);
    writeFileSync(join(dir, 'token'), 'own-token\n');
  });
  after(async () => {
    await issuer[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const open = (...over: readonly object[]): TokenVerifier =>
    tokenVerifier(
      tokensSchema.parse({
        issuers: over.map((each, index) => ({
          name: `cluster-${index}`,
          type: 'kubernetes',
          issuer: issuer.url,
          purposes: ['istio'],
          audiences: ['meshca'],
          caFile: join(dir, 'ca.pem'),
          ...each,
        })),
      }),
      {
        clock: new FakeClock(Math.floor(Date.now() / 1000) * 1000),
        logger: silentLogger,
        readFile: readPem,
      },
    );
  const review = (): object => ({ review: { apiUrl: issuer.url, tokenFile: join(dir, 'token') } });
  let answer: object;
  let asked: { readonly spec?: { readonly token?: string; readonly audiences?: string[] } }[];
  beforeEach(() => {
    verifier = open({});
    answer = reviewed();
    asked = [];
    issuer.answer = (path, body) => {
      if (!path.endsWith('/apis/authentication.k8s.io/v1/tokenreviews')) return undefined;
      asked.push(JSON.parse(body) as object);
      return { status: 201, body: JSON.stringify({ kind: 'TokenReview', status: answer }) };
    };
  });
  const good = async (token: string, over: object = {}): Promise<VerifiedToken> => {
    const verified = await verifier.verify(token, { ...demand, ...over });
    assert.ok(verified.ok, verified.ok ? '' : `${verified.error.code}: ${verified.error.message}`);
    return verified.value;
  };
  const refused = async (token: string): Promise<string> => {
    const verified = await verifier.verify(token, demand);
    assert.ok(!verified.ok, 'the token was accepted');
    return verified.error.code;
  };
  const identity = {
    namespace: 'shop',
    serviceAccount: 'web',
    serviceAccountUid: 'u1',
    pod,
    node,
  };

  test('by the keys of the issuer, the claims say who it is', async () => {
    const { kubernetes, selectors } = await good(await issuer.token(bound));
    assert.deepEqual(kubernetes, { cluster: 'cluster-0', ...identity });
    assert.deepEqual(selectors.map(selectorText), [
      'k8s:cluster:cluster-0',
      'k8s:node-name:node-a',
      `k8s:node-uid:${node.uid}`,
      'k8s:ns:shop',
      'k8s:pod-name:web-0',
      `k8s:pod-uid:${pod.uid}`,
      'k8s:sa:web',
    ]);
    assert.deepEqual(asked, []);
  });

  test('by a review, the cluster says who it is, and is asked each time', async () => {
    verifier = open({ cluster: 'east', ...review() });
    const token = await issuer.token(bound);
    assert.deepEqual((await good(token)).kubernetes, { cluster: 'east', ...identity });
    assert.deepEqual((await good(token, { cluster: 'east' })).kubernetes?.cluster, 'east');
    assert.deepEqual(
      asked.map(({ spec }) => spec),
      [1, 2].map(() => ({ token, audiences: ['istio-ca'] })),
    );
    assert.equal(verifier.standings()[0]?.state, 'reachable');
  });

  test('whoever sends many tokens from one address keeps nobody else from a review', async () => {
    verifier = open(review());
    const token = await issuer.token(bound);
    const waiting = Promise.withResolvers<void>();
    let arrived = 0;
    issuer.answer = () => {
      arrived += 1;
      return waiting.promise.then(() => ({
        status: 201,
        body: JSON.stringify({ status: answer }),
      }));
    };
    const from = (peer: string) => verifier.verify(token, { ...demand, peer });
    const flood = Array.from({ length: 40 }, (_, port) => from(`192.0.2.1:${port}`));
    await until(() => arrived === 32);
    const honest = from('192.0.2.2:1');
    await until(() => arrived === 33);
    waiting.resolve();
    assert.equal((await honest).ok, true);
    const refusedCodes = (await Promise.all(flood)).map((each) => each.ok || each.error.code);
    assert.equal(refusedCodes.filter((code) => code === 'OVERLOADED').length, 9);
    assert.equal(refusedCodes.filter((code) => code === true).length, 31);
    assert.equal(verifier.standings()[0]?.state, 'reachable', 'the cluster is not to blame');
  });

  test('what the cluster refuses is refused: TOKEN_REFUSED', async () => {
    verifier = open(review());
    const token = await issuer.token(bound);
    for (const bad of [
      { authenticated: false, error: 'the pod is gone' },
      { error: 'no audience fits' },
      reviewed({ error: 'half a yes' }),
      reviewed({ user: { username: 'admin' } }),
      reviewed({ user: { username: 'system:serviceaccount:shop:web:more' } }),
      reviewed({ user: { username: 'system:serviceaccount:shop:other' } }),
      reviewed({}, { 'authentication.kubernetes.io/pod-uid': [] }),
    ]) {
      answer = bad;
      assert.equal(await refused(token), 'TOKEN_REFUSED', JSON.stringify(bad));
    }
    answer = reviewed();
    await good(token);
  });

  test('a cluster that does not confirm the audience is not believed', async () => {
    verifier = open(review());
    const token = await issuer.token(bound);
    for (const audiences of [undefined, [], ['https://kubernetes.default.svc']]) {
      answer = reviewed({ audiences });
      assert.equal(await refused(token), 'TOKEN_AUDIENCE_WRONG');
    }
    asked = [];
    assert.equal(await refused(await issuer.token({ ...bound, aud: 'x' })), 'TOKEN_AUDIENCE_WRONG');
    assert.equal(await refused(await issuer.token({ ...bound, exp: 1_000 })), 'TOKEN_EXPIRED');
    // such tokens do not reach the API server
    assert.deepEqual(asked, []);
  });

  test('a cluster that does not answer, or without a status, is an outage', async () => {
    verifier = open(review());
    const token = await issuer.token(bound);
    const inner = issuer.answer;
    for (const status of [401, 403, 500, 307]) {
      issuer.answer = () => ({ status, body: '{}' });
      assert.equal(await refused(token), 'TOKEN_ISSUER_UNREACHABLE');
      assert.match(verifier.standings()[0]?.reason ?? '', new RegExp(`${status}|redirect`));
    }
    issuer.answer = () => ({ status: 201, body: '{}' });
    assert.equal(await refused(token), 'TOKEN_ISSUER_UNREACHABLE');
    issuer.answer = inner;
    await good(token);
    assert.equal(verifier.standings()[0]?.state, 'reachable');
  });

  test('a token that is bound to no pod is refused: TOKEN_NOT_BOUND', async () => {
    const unbound = await issuer.token({
      ...bound,
      'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'web', uid: 'u1' } },
    });
    assert.equal(await refused(unbound), 'TOKEN_NOT_BOUND');
    await good(await issuer.token(bound));
    verifier = open(review());
    answer = reviewed({ user: { username: account, uid: 'u1' } });
    assert.equal(await refused(unbound), 'TOKEN_NOT_BOUND');
    verifier = open({ allowUnbound: true });
    assert.equal((await good(unbound)).kubernetes?.pod, undefined);
  });

  test('claims that contradict each other, or are no names of Kubernetes, are refused', async () => {
    for (const claims of [
      { ...bound, sub: 'system:serviceaccount:shop:admin' },
      { ...bound, 'kubernetes.io': undefined },
      { ...bound, 'kubernetes.io': { namespace: 'shop', serviceaccount: {} } },
      {
        sub: 'system:serviceaccount:a/b:web',
        aud: 'istio-ca',
        'kubernetes.io': { namespace: 'a/b', serviceaccount: { name: 'web' }, pod },
      },
    ])
      assert.equal(await refused(await issuer.token(claims)), 'TOKEN_MALFORMED');
  });

  test('a token is shown to its own cluster alone: where two have one issuer, the caller names it', async () => {
    verifier = open({ cluster: 'east', ...review() }, { cluster: 'west', ...review() });
    const token = await issuer.token(bound);
    assert.equal(await refused(token), 'TOKEN_ISSUER_UNKNOWN');
    assert.deepEqual(asked, []);
    assert.equal((await good(token, { cluster: 'west' })).issuer, 'cluster-1');
    assert.equal(asked.length, 1);
  });
});
