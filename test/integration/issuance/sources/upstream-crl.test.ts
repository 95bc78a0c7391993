import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  checkCrlSignature,
  parseCertificate,
  parseCrl,
  type ParsedCrl,
} from '../../../../src/common/x509/index.ts';
import { startOpenBao, signingPolicy, upstreamOf, type OpenBao } from '../../../support/openbao.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

describe('CRLs of a real OpenBao above ours', () => {
  let bao: OpenBao;
  let server: TestServer;
  let rootId = '';
  before(async () => {
    bao = await startOpenBao();
    server = await startTestServer({
      config: {
        authorities: { source: 'upstream', upstream: upstreamOf(bao, { crlRefreshSeconds: 1 }) },
      },
    });
    await until(async () => server.server.port > 0, 'a first intermediate');
    rootId = (await server.admin('Authorities/ListAuthorities', { kind: 'root' })).authorities[0]!
      .id;
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await bao?.[Symbol.asyncDispose]();
  });

  const status = () => server.admin('Authorities/GetRotationStatus');
  const handedOut = async (): Promise<boolean> => (await status()).crlsHandedOut === true;
  const rootCrl = async (): Promise<ParsedCrl> => {
    const response = await fetch(
      `http://127.0.0.1:${server.server.httpPorts.plain}/crl/${rootId}.crl`,
    );
    assert.equal(response.status, 200);
    return unwrap(parseCrl(Buffer.from(await response.arrayBuffer())));
  };

  test('the CRL of its root is fetched by itself, so that the set is complete', async () => {
    await until(handedOut, 'a complete set');
    const crl = await rootCrl();
    const root = unwrap(parseCertificate(unwrap(certificatesFromPem(bao.rootPem))[0] as Buffer));
    assert.ok(checkCrlSignature(crl, root).ok);
    const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'crl.imported' });
    assert.deepEqual(
      records.map(({ actor, subject }: { actor: string; subject: string }) => [actor, subject]),
      [['server', rootId]],
      'the same CRL is taken in once',
    );
  });

  test('what is revoked there is on the CRL here soon, and the operator is told of what it ends', async () => {
    const before = await rootCrl();
    const { certificate } = (
      await bao.api('POST', 'pki/issuer/default/sign-intermediate', {
        csr: await strangersCsr(),
        common_name: 'other',
        ttl: '100h',
      })
    ).data;
    await bao.api('POST', 'pki/revoke', { certificate });
    const { serialHex } = unwrap(
      parseCertificate(unwrap(certificatesFromPem(certificate))[0] as Buffer),
    );
    await until(async () => (await rootCrl()).revoked.has(serialHex), 'the revocation');
    assert.ok((await rootCrl()).number > before.number);
    assert.equal(await handedOut(), true);
  });

  test('while it is sealed the CRL that is here goes on being handed out, also after a restart', async () => {
    const before = await rootCrl();
    await bao.seal();
    await server.restart();
    assert.equal(await handedOut(), true);
    assert.equal((await rootCrl()).number, before.number);
    await bao.unseal();
  });

  test('one that ends soon and was not renewed there is asked for where the policy allows it', async () => {
    await bao.api('PUT', 'sys/policies/acl/meshca', { policy: signingPolicy });
    await bao.api('POST', 'pki/config/crl', { expiry: '20s', auto_rebuild: false });
    await bao.api('GET', 'pki/crl/rotate');
    const crl = async () =>
      (await status()).crls.find(({ authorityId }) => authorityId === rootId)!;
    await until(
      async () => ['expiring', 'expired'].includes((await crl()).state),
      'its last third',
    );
    const { number } = await rootCrl();
    await bao.api('PUT', 'sys/policies/acl/meshca', {
      policy: `${signingPolicy}\npath "pki/crl/rotate" { capabilities = ["read"] }`,
    });
    await until(async () => (await rootCrl()).number > number, 'a renewed CRL');
    await until(
      async () => (await crl()).state === 'current' && (await handedOut()),
      'a current set',
    );
  });
});

async function strangersCsr(): Promise<string> {
  const { createCsr, generateKeyPairAsync, pemEncode } = await import(
    '../../../../src/common/x509/index.ts'
  );
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  return pemEncode('CERTIFICATE REQUEST', createCsr(privateKey));
}
