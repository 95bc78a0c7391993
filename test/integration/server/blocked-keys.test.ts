import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import {
  createCsr,
  pemEncode,
  pkcs8Of,
  sha256Hex,
  spkiOf,
} from '../../../src/common/x509/index.ts';
import { runCommand } from '../../support/command.ts';
import { SignDialogue } from '../../support/control-plane.ts';
import { statedCsr } from '../../support/csr.ts';
import {
  createCertificate,
  csrPem,
  istioClientId,
  startTestCluster,
  type TestCluster,
} from '../../support/istio.ts';
import { nameOf, plane, servingName, web } from '../../support/linkerd-mesh.ts';
import { CertifyError, LinkerdProxy } from '../../support/linkerd-proxy.ts';
import {
  attestByToken,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { startTokenIssuer, tokenAudience, type TokenIssuer } from '../../support/token-issuer.ts';
import { until } from '../../support/until.ts';

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const id = (path: string): string => `spiffe://mesh.test/${path}`;
const digestOf = (key: KeyObject): string => sha256Hex(spkiOf(key));

let dir: string;
let server: TestServer;
let cluster: TestCluster;
let ci: TokenIssuer;
let linkerd: TokenIssuer;
let agent: Credential;
let client: Credential;
let nested: Credential;
let entryId: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-blocked-'));
  [cluster, ci, linkerd] = await Promise.all([
    startTestCluster(),
    startTokenIssuer(),
    startTokenIssuer(),
  ]);
  writeFileSync(join(dir, 'ci.pem'), ci.caPem);
  writeFileSync(join(dir, 'linkerd.pem'), linkerd.caPem);
  const { tokens, controlPlanes } = cluster.config as {
    readonly tokens: { readonly issuers: readonly object[] };
    readonly controlPlanes: object;
  };
  server = await startTestServer({
    config: {
      names: { enabled: true },
      issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
      limits: { downstreamPerMinute: 600 },
      controlPlanes: { ...controlPlanes, linkerd: plane },
      tokens: {
        issuers: [
          ...tokens.issuers,
          {
            name: 'ci',
            type: 'oidc',
            issuer: ci.url,
            audiences: [tokenAudience],
            caFile: join(dir, 'ci.pem'),
          },
          {
            name: 'linkerd',
            type: 'kubernetes',
            issuer: linkerd.url,
            purposes: ['linkerd'],
            audiences: ['identity.l5d.io'],
            caFile: join(dir, 'linkerd.pem'),
          },
        ],
      },
    },
  });
  agent = await server.joinAgent('n1');
  client = await server.mint(id('control-plane'));
  await grants();
  nested = await svidOf('nested');
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await Promise.all([cluster, ci, linkerd].map((each) => each?.[Symbol.asyncDispose]()));
  await rm(dir, { recursive: true, force: true });
});

async function grants(): Promise<void> {
  const delegation = (of: object) =>
    server.admin('Delegations/CreateDelegation', {
      delegation: { clientId: client.spiffeId, maxTtlSeconds: 3600, ...of },
    });
  await delegation({ patterns: [id('cp/*')] });
  await delegation({ profile: 'hours', dnsPatterns: ['*.names.test'], patterns: [] });
  await delegation({ clientId: istioClientId, patterns: [id('ns/shop/sa/*')] });
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      { spiffeId: id('web'), parentId: agent.spiffeId, selectors: ['unix:uid:7'] },
      {
        spiffeId: id('nested'),
        parentId: agent.spiffeId,
        selectors: ['unix:uid:7'],
        downstream: true,
        id: 'nested',
      },
      {
        spiffeId: id('job'),
        parentId: id('meshca/token-issuer/ci'),
        selectors: ['oidc:repository:example/app'],
      },
    ],
  });
  for (const { entry, problem } of results) assert.ok(entry, problem?.message);
  entryId = results[0]?.entry?.id ?? '';
}

async function signed(entry: string, key: KeyObject, requestId = uuidv7()): Promise<Credential> {
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    { items: [{ requestId, entryId: entry, csrDer: createCsr(key) }] },
  );
  const [result] = results;
  if (!result?.svid) throw new PkiError(result?.refusal?.code as 'INTERNAL', 'refused');
  const { spiffeId, serial, chainDer } = result.svid;
  return { spiffeId, serial, chainDer, privateKey: key };
}
const svidOf = (entry: string): Promise<Credential> => signed(entry, newKey());

/** Every way in which a certificate is issued for a key that the caller brings. */
const repeatedId = uuidv7();
const ways: Readonly<Record<string, (key: KeyObject) => Promise<unknown>>> = {
  'a batch of an agent': (key) => signed(entryId, key),
  'the same request again, whose certificate is on record': (key) =>
    signed(entryId, key, repeatedId),
  'the attestation of a node': async (key) => {
    const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n2' });
    return attestByToken(server.client(), token, { key });
  },
  'the renewal of an agent': (key) =>
    unaryCall(server.client(agent), '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
      requestId: uuidv7(),
      csrDer: createCsr(key),
      agentVersion: 'test',
    }),
  'a minted certificate': (key) =>
    server.admin('Certificates/MintX509Svid', {
      spiffeId: id('minted'),
      csrDer: createCsr(key),
      requestId: uuidv7(),
    }),
  'a certificate of names by an operator': (key) =>
    server.admin('Certificates/IssueCertificate', {
      dnsNames: ['www.example.test'],
      csrDer: createCsr(key),
      requestId: uuidv7(),
    }),
  'a delegation': (key) =>
    unaryCall(server.client(client), '/meshca.signing.v1.Signing/Sign', {
      requestId: uuidv7(),
      spiffeId: id('cp/a'),
      csrDer: createCsr(key),
    }),
  'names by a delegation': (key) =>
    unaryCall(server.client(client), '/meshca.signing.v1.Signing/Sign', {
      requestId: uuidv7(),
      dnsNames: ['a.names.test'],
      csrDer: createCsr(key),
    }),
  'a batch of a delegation': async (key) => {
    const { results } = await unaryCall(
      server.client(client),
      '/meshca.signing.v1.Signing/SignBatch',
      { items: [{ requestId: uuidv7(), spiffeId: id('cp/a'), csrDer: createCsr(key) }] },
    );
    const code = results[0]?.refusal?.code;
    if (code !== undefined) throw new PkiError(code as 'INTERNAL', 'refused');
  },
  'a stream of a delegation': async (key) => {
    const dialogue = new SignDialogue(server.client(client));
    await until(() => dialogue.credits > 0, 'credits');
    dialogue.write({
      id: 'a',
      item: { requestId: uuidv7(), spiffeId: id('cp/a'), csrDer: createCsr(key) },
    });
    await until(() => dialogue.answerOf('a') !== undefined, 'the answer');
    const code = dialogue.answerOf('a')?.result?.refusal?.code;
    dialogue.stream.cancel();
    if (code !== undefined) throw new PkiError(code as 'INTERNAL', 'refused');
  },
  'a token of a pipeline': async (key) =>
    unaryCall(server.client(), '/meshca.issuer.v1.Pipelines/IssueWithToken', {
      token: await ci.token({ repository: 'example/app' }),
      csrDer: createCsr(key),
    }),
  "CreateCertificate of Istio's": async (key) => {
    const { code } = await createCertificate(
      server,
      { csr: csrPem(createCsr(key)) },
      { token: await cluster.token('shop/web') },
    );
    if (code !== 'OK') throw new PkiError(code as 'INTERNAL', 'refused');
  },
  "Certify of Linkerd's": async (key) => {
    const name = nameOf(web.namespace, web.serviceAccount);
    const proxy = new LinkerdProxy({
      ...{ port: server.server.port, anchorsDer: server.rootsDer, servingName, name },
      token: () =>
        linkerd.token({
          sub: `system:serviceaccount:${web.namespace}:${web.serviceAccount}`,
          aud: ['identity.l5d.io'],
          'kubernetes.io': {
            namespace: web.namespace,
            serviceaccount: { name: web.serviceAccount, uid: 'uid' },
            pod: { name: web.pod, uid: 'pod-uid' },
          },
        }),
    });
    Object.assign(proxy, {
      key,
      csrDer: statedCsr(key, { commonName: name, dnsSans: [name] }),
    });
    await proxy.certify();
  },
  'a downstream CA for a workload': (key) =>
    unaryCall(server.client(nested), '/meshca.signing.v1.Signing/SignDownstreamAuthority', {
      requestId: uuidv7(),
      csrDer: createCsr(key),
    }),
  'a downstream CA by an operator': (key) =>
    server.admin('AuthoritySources/SignDownstream', {
      csrDer: createCsr(key),
      ttlSeconds: 86_400,
      requestId: uuidv7(),
    }),
};

async function outcomes(key: KeyObject): Promise<Readonly<Record<string, string>>> {
  const codes: [string, string][] = [];
  for (const [name, way] of Object.entries(ways)) {
    const code = await way(key).then(
      () => 'issued',
      (thrown: unknown) => (thrown instanceof CertifyError ? thrown : PkiError.from(thrown)).code,
    );
    codes.push([name, code]);
  }
  return Object.fromEntries(codes);
}

const all = (code: string) => Object.fromEntries(Object.keys(ways).map((name) => [name, code]));

test('a blocked key is refused in every way of issuing, and after a restart, and another key in none', async () => {
  const key = newKey();
  assert.deepEqual(await outcomes(key), all('issued'));
  const blocked = await server.admin('Keys/BlockKey', {
    publicKeySha256: digestOf(key),
    reason: 'found on a laptop',
  });
  assert.equal(blocked.blocked?.reason, 'found on a laptop');
  assert.ok(blocked.certificates >= Object.keys(ways).length - 2, `${blocked.certificates}`);
  assert.deepEqual(await outcomes(key), all('KEY_BLOCKED'));
  await server.restart();
  assert.deepEqual(await outcomes(key), all('KEY_BLOCKED'));
  const { keys } = await server.admin('Keys/ListBlockedKeys', {});
  assert.deepEqual(
    keys.map(({ publicKeySha256 }) => publicKeySha256),
    [digestOf(key)],
  );
});

test('whoever has a blocked key is no caller any more, and its agent does not recover with it', async () => {
  const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n3' });
  const stolen = await attestByToken(server.client(), token);
  const renew = async (as: Credential): Promise<string> =>
    unaryCall(server.client(as), '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
      requestId: uuidv7(),
      csrDer: createCsr(newKey()),
      agentVersion: 'test',
    }).then(
      () => 'renewed',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
  assert.equal(await renew(stolen), 'renewed');
  await server.admin('Keys/BlockKey', { serial: stolen.serial, reason: 'stolen' });
  assert.equal(await renew(stolen), 'KEY_BLOCKED');
});

test('the key of an authority that signs is not blocked, and a key is named in one way', async () => {
  const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'issuing' });
  const block = (request: { publicKeySha256?: string; serial?: string }) =>
    server.admin('Keys/BlockKey', { reason: 'test', ...request }).then(
      () => 'blocked',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
  const certificate = authorities[0]?.certificateDer as Buffer;
  const { publicKey } = new X509Certificate(certificate);
  assert.equal(await block({ publicKeySha256: digestOf(publicKey) }), 'KEY_RESERVED');
  assert.equal(await block({}), 'INVALID_REQUEST');
  assert.equal(await block({ serial: 'ab'.repeat(16) }), 'NOT_FOUND');
  assert.equal(await block({ publicKeySha256: 'ab' }), 'INVALID_REQUEST');
});

test('a key is blocked and certificates are revoked from the command line, after the plan was shown', async () => {
  const key = newKey();
  const leaf = await signed(entryId, key);
  const write = (name: string, label: string, der: Buffer): string => {
    writeFileSync(join(dir, name), pemEncode(label, der));
    return join(dir, name);
  };
  const files = [
    ['--certificate', leaf.serial],
    ['--spki', digestOf(key)],
    ['--csr', write('a.csr', 'CERTIFICATE REQUEST', createCsr(key))],
    ['--public-key', write('a.key', 'PRIVATE KEY', pkcs8Of(key))],
    ['--public-key', write('a.pem', 'CERTIFICATE', leaf.chainDer[0] as Buffer)],
  ] as const;
  for (const named of files) {
    const { code, out } = await runCommand(server, ['key', 'show', ...named, '--json']);
    const { publicKeySha256, certificates } = JSON.parse(out);
    assert.deepEqual([code, publicKeySha256, Number(certificates)], [0, digestOf(key), 1]);
  }
  const [, spki] = files;
  const unasked = await runCommand(server, ['key', 'block', ...spki, '--reason', 'test']);
  assert.notEqual(unasked.code, 0, 'standard input is no terminal');
  const revoke = ['certificate', 'revoke', ...spki, '--reason', 'keyCompromise'];
  const plan = await runCommand(server, [...revoke, '--dry-run']);
  assert.match(plan.out, /to revoke +1 certificates of 1 holders/);
  assert.match(plan.out, /keys blocked +1 of 1/);
  assert.equal((await server.admin('Keys/GetKey', { serial: leaf.serial })).blocked, null);
  const asked: string[] = [];
  const ask = async (question: string): Promise<boolean> => {
    asked.push(question);
    return true;
  };
  const done = await runCommand(server, revoke, { ask });
  assert.equal(done.code, 0, done.err);
  assert.match(asked.join(), /Revoke 1 certificates of 1 holders, and block 1 keys for ever/);
  assert.match(done.out, /on no CRL +1: they carry noRevAvail/);
  const again = await runCommand(server, [...revoke, '--yes']);
  assert.match(again.out, /revoked before +1/);
  const blocked = await runCommand(server, ['key', 'block', ...spki, '--reason', 'again', '--yes']);
  assert.match(blocked.out, /nothing is issued for it any more/);
  const { out } = await runCommand(server, ['key', 'list', '--json']);
  assert.ok(out.includes(digestOf(key)));
});
