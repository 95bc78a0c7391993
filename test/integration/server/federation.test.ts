import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { SignJWT } from 'jose';
import {
  certificatesToPem,
  createCsr,
  pemEncode,
  verifyX509Svid,
} from '../../../src/common/x509/index.ts';
import { unwrap } from '../../../src/common/errors/index.ts';
import { peerChainOf } from '../../../src/common/runtime/index.ts';
import {
  BundleEndpoint,
  bundleDocumentOf,
  foreignRoot,
  svidPair,
  webPair,
} from '../../support/bundle-endpoint.ts';
import {
  allMethods,
  codeOf,
  startTestServer,
  untypedCall,
  type TestServer,
} from '../../support/server.ts';
import { createSvid, type TestAuthority, type TestSvid } from '../../support/test-pki.ts';
import { until } from '../../support/until.ts';

const webRoot = foreignRoot('web', { uriSans: [] });
const webCa = certificatesToPem([webRoot.certificateDer]);
const partnerRoot = foreignRoot('partner.test');

let dir: string;
let t: TestServer;

const writeWebPair = (root: TestAuthority): void => {
  const { cert, key } = webPair(root);
  writeFileSync(join(dir, 'web.pem'), cert);
  writeFileSync(join(dir, 'web.key'), key);
};

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-federation-'));
  writeWebPair(webRoot);
  t = await startTestServer({
    config: {
      http: { tls: { enabled: true, port: 0 } },
      federation: {
        web: { port: 0, certFile: join(dir, 'web.pem'), keyFile: join(dir, 'web.key') },
        spiffe: { port: 0 },
      },
    },
  });
});
after(async () => {
  await t?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

const get = (port: number, options: RequestOptions & { readonly path?: string }): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const sent = request({ host: 'localhost', port, agent: false, ...options }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => (body += text));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    sent.on('error', reject);
    sent.end();
  });

const handshake = (port: number, options: ConnectionOptions): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () =>
      resolve(socket),
    );
    socket.on('error', reject);
  });

test('both endpoints give the bundle in TLS 1.2 and 1.3, ask for no certificate, and let it be cached', async () => {
  const { web, spiffe } = t.server.federationPorts;
  const bundle = await t.admin('Authorities/GetBundle');
  for (const [port, ca] of [
    [web, webCa],
    [spiffe, certificatesToPem(t.rootsDer)],
  ] as const)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const only = { ca, minVersion: version, maxVersion: version };
      const reply = await get(port, { ...only, path: '/' });
      assert.equal(reply.status, 200);
      const document = JSON.parse(reply.body) as Readonly<Record<string, unknown>>;
      assert.equal(document['spiffe_sequence'], bundle.sequence);
      assert.equal(
        reply.headers['cache-control'],
        `public, max-age=${document['spiffe_refresh_hint']}`,
      );
      const again = await get(port, {
        ...only,
        path: '/',
        headers: { 'if-none-match': String(reply.headers['etag']) },
      });
      assert.deepEqual([again.status, again.body], [304, '']);
      for (const [path, method, status] of [
        ['/bundle', 'GET', 404],
        ['/', 'POST', 405],
        ['/metrics', 'GET', 404],
      ] as const)
        assert.equal((await get(port, { ...only, path, method })).status, status);
    }
});

test('the endpoint of the profile https_spiffe presents the SVID of the server', async () => {
  const socket = await handshake(t.server.federationPorts.spiffe, {});
  const { id } = unwrap(
    verifyX509Svid({
      chainDer: peerChainOf(socket),
      bundle: () => t.rootsDer,
      now: Math.floor(Date.now() / 1000),
      purpose: 'server',
    }),
  );
  assert.equal(id.toString(), 'spiffe://mesh.test/meshca/server');
  socket.destroy();
});

test('a reload takes new files of the web certificate into use', async () => {
  const renewed = foreignRoot('web', { uriSans: [], subject: 'another CA of the web' });
  writeWebPair(renewed);
  await t.server.reload();
  const { web } = t.server.federationPorts;
  const ca = certificatesToPem([renewed.certificateDer]);
  assert.equal((await get(web, { ca, path: '/' })).status, 200);
  await assert.rejects(get(web, { ca: webCa, path: '/' }));
});

/** What a foreign workload presents. */
const clientPems = ({
  chainDer,
  keyDer,
}: TestSvid): { readonly cert: string; readonly key: string } => ({
  cert: certificatesToPem(chainDer),
  key: pemEncode('PRIVATE KEY', keyDer),
});

test('a foreign SVID is nobody here on any port, whatever it says, also while its trust domain is trusted', async () => {
  await using endpoint = await BundleEndpoint.start(
    svidPair(partnerRoot, 'spiffe://partner.test/ca'),
  );
  endpoint.answer = bundleDocumentOf({ roots: [partnerRoot], sequence: 2 });
  await t.admin('Federation/CreateRelationship', {
    trustDomain: 'partner.test',
    endpointUrl: endpoint.url,
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: 'spiffe://partner.test/ca',
    bundleDocument: Buffer.from(bundleDocumentOf({ roots: [partnerRoot], sequence: 1 })),
  });
  await until(async () => {
    const shown = await t.admin('Federation/GetRelationship', { trustDomain: 'partner.test' });
    return shown.bundle?.sequence === 2;
  });
  const foreign = [
    'spiffe://partner.test/web',
    'spiffe://partner.test/meshca/agent/n1',
    'spiffe://mesh.test/meshca/agent/n1',
    'spiffe://mesh.test/admin/alice',
    'spiffe://mesh.test/meshca/server',
  ];
  for (const id of foreign) {
    const svid = createSvid(partnerRoot, id);
    const credential = {
      spiffeId: id,
      serial: '',
      chainDer: svid.chainDer,
      privateKey: svid.privateKey,
    };
    const client = t.client(credential);
    const open = ['NodeAttestation', 'Pipelines'];
    for (const [path, method] of Object.entries(allMethods())) {
      if (method.requestStream || method.responseStream) continue;
      if (open.some((name) => path.includes(`.${name}/`))) continue;
      const code = await codeOf(untypedCall(client, path));
      assert.equal(code, 'CERTIFICATE_UNKNOWN', `${id} at ${path}`);
    }
    // ports for anybody ask nobody who he is
    for (const port of [t.server.httpPorts.tls, t.server.federationPorts.spiffe]) {
      const reply = await get(port, {
        ...clientPems(svid),
        ca: certificatesToPem(t.rootsDer),
        path: port === t.server.httpPorts.tls ? '/bundle' : '/',
      });
      assert.equal(reply.status, 200);
    }
  }
  const bundle = await t.admin('Authorities/GetBundle');
  assert.ok(
    (bundle.rootsDer as Buffer[]).every((root) => !root.equals(partnerRoot.certificateDer)),
  );
  await t.admin('Federation/DeleteRelationship', { trustDomain: 'partner.test', reason: 'over' });
  assert.equal(
    await codeOf(t.admin('Federation/GetRelationship', { trustDomain: 'partner.test' })),
    'NOT_FOUND',
  );
});

test('a foreign JWT-SVID proves nobody here: as a bearer on the gRPC port, and as a token of a job', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const document = bundleDocumentOf({ roots: [partnerRoot], jwtKeys: { k1: publicKey } });
  await t.admin('Federation/CreateRelationship', {
    trustDomain: 'partner.test',
    endpointUrl: 'https://localhost:1/',
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: 'spiffe://partner.test/ca',
    bundleDocument: Buffer.from(document),
  });
  const now = Math.floor(Date.now() / 1000);
  const client = t.client();
  for (const id of ['spiffe://partner.test/web', 'spiffe://mesh.test/admin/alice']) {
    const jwt = await new SignJWT({ sub: id, aud: ['meshca', 'mesh.test'], iss: id })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'JWT' })
      .setIssuedAt(now)
      .setExpirationTime(now + 300)
      .sign(privateKey);
    for (const [path, method] of Object.entries(allMethods())) {
      if (method.requestStream || method.responseStream) continue;
      if (path.includes('.NodeAttestation/') || path.includes('.Pipelines/')) continue;
      const code = await codeOf(untypedCall(client, path, {}, { bearer: jwt }));
      assert.equal(code, 'UNAUTHENTICATED', `${id} at ${path}`);
    }
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const csrDer = createCsr(key);
    const issue = '/meshca.issuer.v1.Pipelines/IssueWithToken';
    const refused = await codeOf(untypedCall(client, issue, { token: jwt, csrDer }));
    assert.equal(refused, 'TOKEN_ISSUER_UNKNOWN', id);
  }
  await t.admin('Federation/DeleteRelationship', { trustDomain: 'partner.test', reason: 'over' });
});

test('the own trust domain as a foreign one is refused', async () => {
  assert.equal(
    await codeOf(
      t.admin('Federation/CreateRelationship', {
        trustDomain: 'mesh.test',
        endpointUrl: 'https://localhost/',
        endpointProfile: 'https_web',
      }),
    ),
    'INVALID_REQUEST',
  );
  // or under another name, by its keys
  const { spiffe } = t.server.federationPorts;
  const own = await get(spiffe, { ca: certificatesToPem(t.rootsDer), path: '/' });
  assert.equal(
    await codeOf(
      t.admin('Federation/CreateRelationship', {
        trustDomain: 'mirror.test',
        endpointUrl: `https://localhost:${spiffe}/`,
        endpointProfile: 'https_spiffe',
        endpointSpiffeId: 'spiffe://mirror.test/meshca/server',
        bundleDocument: Buffer.from(own.body),
      }),
    ),
    'FEDERATION_BUNDLE_INVALID',
  );
});
