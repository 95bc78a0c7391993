import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { after, before, describe, test } from 'node:test';
import {
  certificatesFromPem,
  createCsr,
  parseCertificate,
} from '../../../../src/common/x509/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { statedCsr } from '../../../support/csr.ts';
import { entryCertificate } from '../../../support/entry-certificate.ts';
import {
  createCertificate,
  csrPem,
  istioClientId,
  istiod,
  startTestCluster,
  type CreateCertificateAnswer,
  type TestCluster,
} from '../../../support/istio.ts';
import { runCommand } from '../../../support/command.ts';
import {
  codeOf,
  startTestServer,
  type Credential,
  type TestServer,
} from '../../../support/server.ts';

const web = 'spiffe://mesh.test/ns/shop/sa/web';
const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const newCsr = (): string => csrPem(createCsr(newKey(), { uriSan: web }));

let cluster: TestCluster;
let server: TestServer;

before(async () => {
  cluster = await startTestCluster();
  server = await startTestServer({ config: cluster.config });
  await grant(server);
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

const grant = async (
  { admin }: TestServer,
  over: { readonly patterns?: string[]; readonly keyTypes?: string[] } = {},
): Promise<string> => {
  const delegation = await admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: istioClientId,
      patterns: ['spiffe://mesh.test/ns/shop/sa/*'],
      maxTtlSeconds: 3600,
      ...over,
    },
  });
  return delegation.id;
};

/** The certificate and its chain of an answer. */
function read({ certChain }: CreateCertificateAnswer) {
  const elements = certChain.map((pem) => unwrap(certificatesFromPem(pem)));
  const leaf = unwrap(parseCertificate(elements[0]?.[0] as Buffer));
  return { elements, leaf, x509: new X509Certificate(elements[0]?.[0] as Buffer) };
}

describe('CreateCertificate', () => {
  test('gives a pod its own identity, with one intermediate an element and all roots last', async () => {
    const token = await cluster.token('shop/web');
    const answer = await createCertificate(server, { csr: newCsr() }, { token });
    assert.equal(answer.code, 'OK');
    const { elements, leaf } = read(answer);
    assert.deepEqual(leaf.uriSans, [web]);
    assert.equal(leaf.dnsSans.length, 0);
    assert.deepEqual(
      elements.map((each) => each.length),
      [1, 1, server.rootsDer.length],
    );
    assert.deepEqual(elements.at(-1), server.rootsDer);
    const [issuer, root] = [elements[1]?.[0], elements[2]?.[0]].map(
      (der) => new X509Certificate(der as Buffer),
    );
    assert.ok(
      new X509Certificate(elements[0]?.[0] as Buffer).checkIssued(issuer as X509Certificate),
    );
    assert.ok((issuer as X509Certificate).checkIssued(root as X509Certificate));
  });

  test('says in the log what granted the certificate: delegation, issuer, account and pod', async () => {
    const token = await cluster.token('shop/web');
    const { leaf } = read(await createCertificate(server, { csr: newCsr() }, { token }));
    const { certificates } = await server.admin('Certificates/ListCertificates', {
      filter: { spiffeId: web },
    });
    const record = certificates.find(({ serial }) => serial === leaf.serialHex);
    assert.partialDeepStrictEqual(record, {
      kind: 'delegated',
      requester: 'kubernetes:prod/shop/web',
      holder: 'pod:prod/web-0/uid-web',
    });
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'certificate.issued',
      page: { size: 500 },
    });
    const texts = records.map(({ canonical }) => canonical.toString('utf8'));
    const issued = texts.find((text) => text.includes(leaf.serialHex)) ?? '';
    for (const reason of [
      '"method":"istio"',
      '"account":"shop/web"',
      '"podUid":"uid-web"',
      '"delegation":"',
    ])
      assert.ok(issued.includes(reason), `${reason} in ${issued}`);
  });

  test('records a refusal with its ID under the name of the account', async () => {
    const token = await cluster.token('bank/teller');
    const csr = csrPem(createCsr(newKey()));
    const { refusalId } = await createCertificate(server, { csr }, { token });
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'request.refused',
      page: { size: 500 },
    });
    const record = records.find(({ canonical }) => canonical.includes(refusalId));
    assert.equal(record?.actor, 'kubernetes:prod/bank/teller');
    assert.match(
      record.canonical.toString('utf8'),
      /meshca delegation create|no active delegation/,
    );
  });

  test('brings what is asked for into the limits, as the clients expect', async () => {
    const lives: number[] = [];
    for (const validityDuration of [86_400, 1, 600, 0]) {
      const token = await cluster.token('shop/web');
      const { leaf } = read(
        await createCertificate(server, { csr: newCsr(), validityDuration }, { token }),
      );
      lives.push(leaf.notAfter - leaf.notBefore - 30);
    }
    assert.deepEqual(lives, [3600, 10, 600, 3600]);
  });

  test('takes RSA-2048, P-256 and P-384', async () => {
    const keys = [
      generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
      newKey(),
      generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
    ];
    for (const key of keys) {
      const token = await cluster.token('shop/web');
      const csr = csrPem(createCsr(key, { uriSan: web }));
      assert.equal((await createCertificate(server, { csr }, { token })).code, 'OK');
    }
  });

  test('answers a repeated call with the recorded certificate', async () => {
    const token = await cluster.token('shop/web');
    const csr = newCsr();
    const serials = [
      await createCertificate(server, { csr }, { token }),
      await createCertificate(server, { csr }, { token }),
      await createCertificate(server, { csr: newCsr() }, { token }),
      await createCertificate(server, { csr }, { token: await cluster.token('shop/web') }),
    ].map((answer) => read(answer).leaf.serialHex);
    assert.equal(serials[1], serials[0]);
    assert.equal(new Set(serials).size, 3);
  });

  test('answers a repeated call after a restart, where the first answer was lost', async () => {
    const token = await cluster.token('shop/web');
    const csr = newCsr();
    const first = read(await createCertificate(server, { csr }, { token }));
    await server.restart();
    const again = read(await createCertificate(server, { csr }, { token }));
    // the period of 60 s may have ended during the restart
    const seconds = again.leaf.notBefore - first.leaf.notBefore;
    if (seconds < 60) assert.equal(again.leaf.serialHex, first.leaf.serialHex);
  });
});

describe('CreateCertificate refuses', () => {
  const refused = async (
    token: string | undefined,
    request: Parameters<typeof createCertificate>[1] = {},
  ): Promise<string> => {
    const answer = await createCertificate(
      server,
      { csr: newCsr(), ...request },
      token === undefined ? {} : { token },
    );
    assert.deepEqual(answer.certChain, []);
    assert.match(answer.refusalId, /^[0-9a-f-]{36}$/);
    return `${status[answer.status]} ${answer.code}`;
  };

  test('a caller without a token or certificate', async () => {
    assert.equal(await refused(undefined), 'UNAUTHENTICATED UNAUTHENTICATED');
  });

  test('a token for another audience, an ended one, and one of another cluster', async () => {
    assert.equal(
      await refused(await cluster.token('shop/web', { aud: ['vault'] })),
      'UNAUTHENTICATED TOKEN_AUDIENCE_WRONG',
    );
    const ended = Math.floor(Date.now() / 1000) - 120;
    assert.equal(
      await refused(await cluster.token('shop/web', { iat: ended - 600, exp: ended })),
      'UNAUTHENTICATED TOKEN_EXPIRED',
    );
    await using other = await startTestCluster();
    assert.equal(
      await refused(await other.token('shop/web')),
      'UNAUTHENTICATED TOKEN_ISSUER_UNKNOWN',
    );
  });

  test('a namespace that nobody granted', async () => {
    const token = await cluster.token('bank/vault');
    const csr = csrPem(createCsr(newKey()));
    assert.equal(await refused(token, { csr }), 'PERMISSION_DENIED OUTSIDE_DELEGATION');
  });

  test('a request that names another identity, or a second name', async () => {
    const token = await cluster.token('shop/web');
    for (const stated of [
      { uriSans: ['spiffe://mesh.test/ns/shop/sa/api'] },
      { uriSans: [web, 'spiffe://mesh.test/ns/shop/sa/api'] },
      { uriSans: [web], dnsSans: [istiod] },
    ])
      assert.equal(
        await refused(token, { csr: csrPem(statedCsr(newKey(), stated)) }),
        'PERMISSION_DENIED CSR_IDENTITY_MISMATCH',
      );
  });

  test('a request that is no CSR', async () => {
    const token = await cluster.token('shop/web');
    for (const csr of ['', 'x', csrPem(Buffer.from('3000', 'hex')), newCsr() + newCsr()])
      assert.equal(await refused(token, { csr }), 'INVALID_ARGUMENT CSR_MALFORMED');
  });

  test('any impersonation, also of the caller itself', async () => {
    const token = await cluster.token('shop/web');
    for (const stringValue of ['spiffe://mesh.test/ns/shop/sa/api', web])
      assert.equal(
        await refused(token, {
          metadata: {
            fields: { ImpersonatedIdentity: { stringValue, kind: 'stringValue' } },
          },
        }),
        'UNAUTHENTICATED IMPERSONATION_REFUSED',
      );
  });

  test('nobody any more, after the command that its advice names', async () => {
    const token = await cluster.token('books/web');
    const csr = csrPem(createCsr(newKey()));
    const { refusalId } = await createCertificate(server, { csr }, { token });
    const { err, code } = await runCommand(server, [
      ...['delegation', 'create', '--client-id', istioClientId],
      ...['--pattern', 'spiffe://mesh.test/ns/books/sa/web', '--max-ttl', '24h'],
    ]);
    assert.equal(code, 0, err);
    assert.match(refusalId, /./);
    assert.equal((await createCertificate(server, { csr }, { token })).code, 'OK');
  });

  test('from the moment on at which the grant is revoked', async () => {
    const token = await cluster.token('shop2/web');
    const csr = csrPem(createCsr(newKey()));
    const id = await grant(server, { patterns: ['spiffe://mesh.test/ns/shop2/sa/*'] });
    assert.equal((await createCertificate(server, { csr }, { token })).code, 'OK');
    await server.admin('Delegations/RevokeDelegation', { id, reason: 'test' });
    assert.equal(
      await refused(await cluster.token('shop2/web'), { csr }),
      'PERMISSION_DENIED OUTSIDE_DELEGATION',
    );
  });

  test('a certificate that a token brought', async () => {
    const key = newKey();
    const token = await cluster.token('shop/web');
    const { elements } = read(
      await createCertificate(server, { csr: csrPem(createCsr(key)) }, { token }),
    );
    const certificate: Credential = {
      spiffeId: web,
      serial: '',
      chainDer: [elements[0]?.[0] as Buffer, elements[1]?.[0] as Buffer],
      privateKey: key,
    };
    const answer = await createCertificate(server, { csr: newCsr() }, { certificate });
    assert.deepEqual([status[answer.status], answer.code], ['UNAUTHENTICATED', 'UNAUTHENTICATED']);
  });

  test('a certificate that an operator minted', async () => {
    const certificate = await server.mint(web);
    const answer = await createCertificate(server, { csr: newCsr() }, { certificate });
    assert.equal(answer.code, 'UNAUTHENTICATED');
  });
});

describe('a virtual machine', () => {
  const vm = 'spiffe://mesh.test/ns/vms/sa/db';

  test('gets certificates with that of its entry, until the entry ends', async () => {
    const certificate = await entryCertificate(server, { id: 'vm-db', spiffeId: vm });
    const key = newKey();
    const csr = csrPem(createCsr(key, { uriSan: vm }));
    const answer = await createCertificate(server, { csr }, { certificate });
    assert.equal(answer.code, 'OK');
    const { leaf, elements } = read(answer);
    assert.deepEqual(leaf.uriSans, [vm]);
    assert.equal(leaf.notAfter - leaf.notBefore - 30, 600);
    const next: Credential = {
      ...certificate,
      chainDer: elements.slice(0, -1).flat(),
      privateKey: key,
    };
    const fresh = csrPem(createCsr(newKey()));
    assert.equal(
      (await createCertificate(server, { csr: fresh }, { certificate: next })).code,
      'UNAUTHENTICATED',
    );
    await server.admin('Entries/DeleteEntries', { ids: ['vm-db'] });
    assert.notEqual((await createCertificate(server, { csr: fresh }, { certificate })).code, 'OK');
  });
});

test('a virtual machine gets nothing more once the node of its agent is banned', async () => {
  const spiffeId = 'spiffe://mesh.test/ns/vms/sa/stolen';
  const certificate = await entryCertificate(server, { id: 'vm-stolen', spiffeId });
  const ask = () =>
    createCertificate(server, { csr: csrPem(createCsr(newKey())) }, { certificate });
  assert.equal((await ask()).code, 'OK');
  await server.admin('Agents/BanAgent', {
    spiffeId: 'spiffe://mesh.test/meshca/agent/node-of-vm-stolen',
    reason: 'stolen',
  });
  assert.equal((await ask()).code, 'AGENT_BANNED');
});

test('a virtual machine gets no identity that its entry gives no more', async () => {
  const given = 'spiffe://mesh.test/ns/vms/sa/moved';
  const certificate = await entryCertificate(server, { id: 'vm-moved', spiffeId: given });
  const csr = csrPem(createCsr(newKey()));
  assert.equal((await createCertificate(server, { csr }, { certificate })).code, 'OK');
  const entry = await server.admin('Entries/GetEntry', { id: 'vm-moved' });
  await server.admin('Entries/UpdateEntry', {
    entry: { ...entry, spiffeId: 'spiffe://mesh.test/ns/vms/sa/other' },
  });
  const fresh = csrPem(createCsr(newKey()));
  const answer = await createCertificate(server, { csr: fresh }, { certificate });
  assert.equal(answer.code, 'UNAUTHENTICATED');
});

test('a virtual machine gets nothing more once its entry belongs to another node', async () => {
  const spiffeId = 'spiffe://mesh.test/ns/vms/sa/given-away';
  const certificate = await entryCertificate(server, { id: 'vm-given', spiffeId });
  const ask = () =>
    createCertificate(server, { csr: csrPem(createCsr(newKey())) }, { certificate });
  assert.equal((await ask()).code, 'OK');
  const other = await server.joinAgent('node-of-another');
  const entry = await server.admin('Entries/GetEntry', { id: 'vm-given' });
  const give = (to: string, revision: number) =>
    server.admin('Entries/UpdateEntry', { entry: { ...entry, revision, parentId: to } });
  const { revision } = await give(other.spiffeId, entry.revision);
  assert.equal((await ask()).code, 'UNAUTHENTICATED');
  await give(entry.parentId, revision);
  assert.equal((await ask()).code, 'OK');
});

describe('the names that Istio’s clients dial', () => {
  test('are in the certificate of the front alone, and no entry, delegation or mint gets them', async () => {
    const { certificates } = await server.admin('Certificates/ListCertificates', {
      filter: { spiffeId: 'spiffe://mesh.test/meshca/server' },
    });
    assert.ok(certificates.some(({ holder }) => holder === 'server:istio'));
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: 'spiffe://mesh.test/impostor',
          parentId: 'spiffe://mesh.test/meshca/agent/node-of-vm-db',
          selectors: ['unix:uid:1'],
          dnsNames: [istiod],
        },
      ],
    });
    assert.equal(results[0]?.problem?.code, 'DNS_NAME_RESERVED');
    assert.equal(
      await codeOf(
        server.admin('Delegations/CreateDelegation', {
          delegation: {
            clientId: 'spiffe://mesh.test/plane',
            patterns: [web],
            maxTtlSeconds: 600,
            dnsPatterns: [istiod],
          },
        }),
      ),
      'DNS_NAME_RESERVED',
    );
  });

  test('belong to configured fronts only: the ID of another one can have no delegation', async () => {
    assert.equal(
      await codeOf(
        server.admin('Delegations/CreateDelegation', {
          delegation: {
            clientId: 'spiffe://mesh.test/meshca/control-plane/istio/other',
            patterns: [web],
            maxTtlSeconds: 600,
          },
        }),
      ),
      'SPIFFE_ID_RESERVED',
    );
  });
});
