import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  createCsr,
  generateKeyPairAsync,
} from '../../../src/common/x509/index.ts';
import {
  createCertificate,
  csrPem,
  istioClientId,
  startTestCluster,
  type TestCluster,
} from '../../support/istio.ts';
import { nameOf, plane, servingName } from '../../support/linkerd-mesh.ts';
import { LinkerdProxy } from '../../support/linkerd-proxy.ts';
import { startTestServer, unaryCall, type TestServer } from '../../support/server.ts';
import { startTokenIssuer, tokenAudience, type TokenIssuer } from '../../support/token-issuer.ts';
import { until } from '../../support/until.ts';

/** A cross-certificate and two roots of names, as while one is replaced. */
async function replaceNamesRoot(server: TestServer): Promise<void> {
  await server.admin('Authorities/RotateAuthorities', {
    ...{ kind: 'names-root', force: true, reason: 'a test' },
  });
  await until(async () => {
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    return authorities.filter(({ kind }) => kind === 'names-issuing').length === 2;
  }, 'the authorities of names to be replaced');
}

async function grants(server: TestServer): Promise<void> {
  await server.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: istioClientId,
      patterns: ['spiffe://mesh.test/ns/shop/sa/*'],
      maxTtlSeconds: 3600,
    },
  });
  await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: 'spiffe://mesh.test/job',
        parentId: 'spiffe://mesh.test/meshca/token-issuer/ci',
        selectors: ['oidc:repository:example/app'],
      },
    ],
  });
}

const istioChain = async (server: TestServer, cluster: TestCluster) => {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const { certChain, code } = await createCertificate(
    server,
    { csr: csrPem(createCsr(privateKey)) },
    { token: await cluster.token('shop/web') },
  );
  assert.equal(code, 'OK');
  return unwrap(certificatesFromPem(certChain.join('\n')));
};

const linkerdChain = async (server: TestServer, issuer: TokenIssuer) => {
  const proxy = new LinkerdProxy({
    ...{ port: server.server.port, anchorsDer: server.rootsDer, servingName },
    name: nameOf('shop', 'web'),
    token: () =>
      issuer.token({
        sub: 'system:serviceaccount:shop:web',
        aud: ['identity.l5d.io'],
        'kubernetes.io': {
          namespace: 'shop',
          serviceaccount: { name: 'web', uid: 'uid' },
          pod: { name: 'web-0', uid: 'pod-uid' },
        },
      }),
  });
  const { leafCertificate, intermediateCertificates } = await proxy.certify();
  return [leafCertificate, ...intermediateCertificates];
};

const pipelineAnswer = async (server: TestServer, ci: TokenIssuer) => {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const { chainDer, rootsDer } = await unaryCall(
    server.client(),
    '/meshca.issuer.v1.Pipelines/IssueWithToken',
    { token: await ci.token({ repository: 'example/app' }), csrDer: createCsr(privateKey) },
  );
  return [...chainDer, ...rootsDer];
};

interface Issuers {
  readonly cluster: TestCluster;
  readonly ci: TokenIssuer;
  readonly linkerd: TokenIssuer;
}

/** A server with names that serves pipelines, Istio and Linkerd. */
async function start(dir: string, { cluster, ci, linkerd }: Issuers): Promise<TestServer> {
  await writeFile(join(dir, 'ci.pem'), ci.caPem);
  await writeFile(join(dir, 'linkerd.pem'), linkerd.caPem);
  const { tokens, controlPlanes } = cluster.config as {
    readonly tokens: { readonly issuers: readonly object[] };
    readonly controlPlanes: object;
  };
  const pipelines = { name: 'ci', type: 'oidc', issuer: ci.url, audiences: [tokenAudience] };
  const proxies = { name: 'linkerd', type: 'kubernetes', issuer: linkerd.url };
  return startTestServer({
    config: {
      names: { enabled: true },
      controlPlanes: { ...controlPlanes, linkerd: plane },
      tokens: {
        issuers: [
          ...tokens.issuers,
          { ...pipelines, caFile: join(dir, 'ci.pem') },
          {
            ...proxies,
            ...{ purposes: ['linkerd'], audiences: ['identity.l5d.io'] },
            caFile: join(dir, 'linkerd.pem'),
          },
        ],
      },
    },
  });
}

test('nothing of an authority of names is in what pipelines, Istio and Linkerd get', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-names-apart-'));
  try {
    await using cluster = await startTestCluster();
    await using ci = await startTokenIssuer();
    await using linkerd = await startTokenIssuer();
    await using server = await start(dir, { cluster, ci, linkerd });
    await replaceNamesRoot(server);
    await grants(server);
    const certificates: Readonly<Record<string, readonly Buffer[]>> = {
      pipeline: await pipelineAnswer(server, ci),
      Istio: await istioChain(server, cluster),
      Linkerd: await linkerdChain(server, linkerd),
    };
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    const ofNames = authorities.filter(({ kind }) => kind.startsWith('names-'));
    const ofMesh = authorities.filter((each) => !ofNames.includes(each));
    assert.ok(ofNames.length >= 4, ofNames.map(({ kind, state }) => `${kind} ${state}`).join());
    for (const [who, [leaf, ...above]] of Object.entries(certificates)) {
      assert.ok(above.length > 0, who);
      for (const der of above)
        assert.ok(
          ofMesh.some(({ certificateDer }) => der.equals(certificateDer)),
          `${who}: a certificate that is none of the mesh`,
        );
      for (const { subjectKeyId } of ofNames.filter(({ subjectKeyId: keyId }) => keyId !== ''))
        assert.equal(leaf?.includes(Buffer.from(subjectKeyId, 'hex')), false, who);
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
