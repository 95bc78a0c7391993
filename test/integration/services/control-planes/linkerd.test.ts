import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { parseCertificate } from '../../../../src/common/x509/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { statedCsr } from '../../../support/csr.ts';
import {
  nameOf,
  servingName,
  startLinkerdMesh,
  web,
  type LinkerdMesh,
} from '../../../support/linkerd-mesh.ts';
import {
  CertifyError,
  type AskedOtherwise,
  type LinkerdProxy,
} from '../../../support/linkerd-proxy.ts';
import { codeOf, unaryCall } from '../../../support/server.ts';

const name = nameOf('shop', 'web');
const serialOf = (proxy: LinkerdProxy): string => String(proxy.leaf?.serialNumber).toLowerCase();

describe('a proxy of Linkerd', () => {
  let mesh: LinkerdMesh;
  before(async () => {
    mesh = await startLinkerdMesh();
  });
  after(() => mesh[Symbol.asyncDispose]());

  const refusal = async (proxy: LinkerdProxy, ask: AskedOtherwise): Promise<CertifyError> => {
    const thrown: unknown = await proxy.certify(ask).catch((error: unknown) => error);
    assert.ok(thrown instanceof CertifyError, String(thrown));
    assert.match(thrown.refusalId, /^[0-9a-f-]{36}$/);
    return thrown;
  };
  /** The gRPC status and our code. */
  const refused = async (ask: AskedOtherwise, proxy = mesh.proxy(web)) => {
    const { status: number, code } = await refusal(proxy, ask);
    return `${status[number]} ${code}`;
  };

  test('obtains a certificate of its one name in DER, verifies it, and renews it with its key', async () => {
    const proxy = mesh.proxy(web);
    const { leafCertificate, intermediateCertificates } = await proxy.certify();
    const leaf = unwrap(parseCertificate(leafCertificate));
    assert.deepEqual([leaf.dnsSans, leaf.uriSans, leaf.otherSanKinds], [[name], [], []]);
    assert.equal(intermediateCertificates.length, 1);
    const first = serialOf(proxy);
    // it presents its certificate now, which neither helps nor hinders
    await proxy.certify();
    assert.notEqual(serialOf(proxy), first);
  });

  test('that repeats its call gets the recorded certificate, and with a new token a new one', async () => {
    const proxy = mesh.proxy(web);
    const token = await mesh.token(web);
    const first = await proxy.certify({ token });
    const second = await proxy.certify({ token });
    assert.ok(first.leafCertificate.equals(second.leafCertificate));
    const third = await proxy.certify({ token: await mesh.token(web) });
    assert.ok(!third.leafCertificate.equals(first.leafCertificate));
  });

  test('is refused without a field, or with a request that is none', async () => {
    const token = await mesh.token(web);
    assert.equal(await refused({ identity: '' }), 'INVALID_ARGUMENT INVALID_REQUEST');
    assert.equal(await refused({ token: '' }), 'INVALID_ARGUMENT INVALID_REQUEST');
    assert.equal(await refused({ csrDer: Buffer.alloc(0) }), 'INVALID_ARGUMENT INVALID_REQUEST');
    const csrDer = randomBytes(200);
    assert.equal(await refused({ token, csrDer }), 'INVALID_ARGUMENT CSR_MALFORMED');
  });

  test('is refused with a token that does not count', async () => {
    const past = Math.floor(Date.now() / 1000) - 1000;
    const other = await mesh.issuer.newKey();
    const signed = await mesh.issuer.token(
      { sub: 'system:serviceaccount:shop:web', aud: ['identity.l5d.io'] },
      { key: { ...other, kid: mesh.issuer.keys[0]?.kid } },
    );
    const cases: readonly (readonly [string, string])[] = [
      [await mesh.token(web, { aud: ['istio-ca'] }), 'TOKEN_AUDIENCE_WRONG'],
      [await mesh.token(web, { iat: past - 60, exp: past }), 'TOKEN_EXPIRED'],
      [await mesh.token(web, { iss: 'https://other.test' }), 'TOKEN_ISSUER_UNKNOWN'],
      ['no token', 'TOKEN_MALFORMED'],
      [signed, 'TOKEN_SIGNATURE_INVALID'],
    ];
    for (const [token, code] of cases)
      assert.equal(await refused({ token }), `FAILED_PRECONDITION ${code}`);
  });

  test('that asks for the name of another account is refused: TOKEN_IDENTITY_MISMATCH', async () => {
    const foreign = { ...web, namespace: 'bank' };
    const proxy = mesh.proxy(web);
    const wrong = 'FAILED_PRECONDITION TOKEN_IDENTITY_MISMATCH';
    assert.equal(await refused({ token: await mesh.token(foreign) }, proxy), wrong);
    assert.equal(await refused({ identity: nameOf('bank', 'web') }, proxy), wrong);
    assert.equal(await refused({ identity: `*.${name}` }, proxy), wrong);
    await proxy.certify();
  });

  test('is refused with other names in its request: CSR_IDENTITY_MISMATCH', async () => {
    const proxy = mesh.proxy(web);
    const dnsSans = [name];
    for (const stated of [
      { dnsSans: [name, 'second.test'] },
      { dnsSans: [nameOf('bank', 'web')] },
      { commonName: name },
      { dnsSans, commonName: 'other' },
      { dnsSans, uriSans: ['spiffe://mesh.test/web'] },
      { dnsSans, emails: ['web@shop.test'] },
      { dnsSans, ips: ['192.0.2.1'] },
    ])
      assert.equal(
        await refused({ csrDer: statedCsr(proxy.key, stated) }, proxy),
        'FAILED_PRECONDITION CSR_IDENTITY_MISMATCH',
        JSON.stringify(stated),
      );
    await proxy.certify({ csrDer: statedCsr(proxy.key, { dnsSans }) });
  });

  test('gets no certificate of the identity service, not even for its account', async () => {
    const identity = { namespace: 'linkerd', serviceAccount: 'linkerd-identity', pod: 'id-0' };
    assert.equal(nameOf('linkerd', 'linkerd-identity'), servingName);
    const proxy = mesh.proxy(identity);
    assert.equal(await refused({}, proxy), 'FAILED_PRECONDITION DNS_NAME_RESERVED');
  });

  test('is on record with its account, pod and process, and so is each refusal', async () => {
    const proxy = mesh.proxy({ ...web, pod: 'web-7' });
    await proxy.certify();
    const { certificates } = await mesh.server.admin('Certificates/ListCertificates', {
      filter: { kind: 'linkerd' },
      page: { size: 500 },
    });
    const record = certificates.find(({ serial }) => serial === serialOf(proxy));
    assert.deepEqual(
      [record?.spiffeId, record?.profile, record?.requester],
      [`dns:${name}`, 'linkerd', 'kubernetes:prod/shop/web'],
    );
    assert.match(record?.holder ?? '', /^linkerd:prod\/shop\/web-7#[0-9a-f]{16}$/);
    const { refusalId } = await refusal(proxy, { identity: nameOf('bank', 'web') });
    const { records } = await mesh.server.admin('Audit/ListAuditRecords', {
      kind: 'request.refused',
      actor: 'kubernetes:prod/shop/web',
      page: { size: 500 },
    });
    assert.ok(
      records.some(({ canonical }) => canonical.includes(refusalId)),
      'the refusal is on record',
    );
  });

  test('has no other right: its certificate is no credential for any call', async () => {
    const proxy = mesh.proxy(web);
    const { leafCertificate, intermediateCertificates } = await proxy.certify();
    const client = mesh.server.client({
      spiffeId: '',
      serial: '',
      chainDer: [leafCertificate, ...intermediateCertificates],
      privateKey: proxy.key,
    });
    assert.equal(
      await codeOf(unaryCall(client, '/meshca.admin.v1.Entries/ListEntries')),
      'CALLER_NOT_ADMITTED',
    );
  });

  test('is told to come back while the issuer of its tokens can not be asked', async () => {
    await using other = await startLinkerdMesh();
    const token = await other.token(web);
    await other.issuer.stop();
    const proxy = other.proxy(web);
    assert.equal(await refused({ token }, proxy), 'UNAVAILABLE TOKEN_ISSUER_UNREACHABLE');
  });
});
