import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
} from '../../../../src/common/x509/index.ts';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, startTestServer, untypedCall, type TestServer } from '../../../support/server.ts';

describe('an intermediate for a CA downstream', () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server?.[Symbol.asyncDispose]());
  const days = 86_400;
  const csr = async (uriSan?: string): Promise<Buffer> =>
    createCsr(
      (await generateKeyPairAsync('ec-p256')).privateKey,
      uriSan === undefined ? {} : { uriSan },
    );
  const asked = async (over: object): Promise<string> =>
    codeOf(
      server.admin('AuthoritySources/SignDownstream', {
        csrDer: await csr(),
        ttlSeconds: 30 * days,
        ...over,
      }),
    );

  test('is signed by the root, can sign leaves alone, and is in the inventory under whoever asked', async () => {
    const signed = await server.admin('AuthoritySources/SignDownstream', {
      csrDer: await csr('spiffe://mesh.test'),
      ttlSeconds: 30 * days,
    });
    const certificate = unwrap(parseCertificate(signed.chainDer[0]!));
    assert.equal(certificate.pathLength, 0);
    assert.deepEqual(certificate.uriSans, ['spiffe://mesh.test']);
    writeFileSync(join(server.dir, 'down.pem'), certificatesToPem(signed.chainDer));
    writeFileSync(join(server.dir, 'root.pem'), certificatesToPem([signed.rootDer]));
    assert.match(
      execFileSync(
        'openssl',
        [
          'verify',
          '-x509_strict',
          '-CAfile',
          join(server.dir, 'root.pem'),
          join(server.dir, 'down.pem'),
        ],
        { encoding: 'utf8' },
      ),
      /OK/,
    );
    const record = await server.admin('Certificates/GetCertificate', { serial: signed.serial });
    assert.deepEqual(
      [record.kind, record.state, record.requester],
      ['authority', 'issued', `uid:${process.getuid?.()}`],
    );
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'authority.downstream',
      page: { size: 10, token: '' },
    });
    assert.equal(records.length, 1);
  });

  test('is refused for pathLen, a foreign name, a used key, a too long life, or a key that is not here', async () => {
    const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'issuing' });
    assert.equal(await asked({ issuerId: authorities[0]!.id }), 'AUTHORITY_UNFIT');
    assert.equal(
      await asked({ csrDer: await csr('spiffe://other.test') }),
      'CSR_IDENTITY_MISMATCH',
    );
    assert.equal(
      await asked({ csrDer: await csr('spiffe://mesh.test/workload') }),
      'CSR_IDENTITY_MISMATCH',
    );
    assert.equal(await asked({ ttlSeconds: 4_000 * days }), 'ISSUER_LIFETIME');
    assert.equal(await asked({ ttlSeconds: 0 }), 'TTL_OUT_OF_RANGE');
    assert.equal(await asked({ issuerId: 'absent' }), 'NOT_FOUND');
    const request = await csr();
    request[request.length - 4] = (request[request.length - 4] as number) ^ 1;
    assert.equal(await asked({ csrDer: request }), 'CSR_SIGNATURE_INVALID');
  });

  test('is refused for the key of an authority that waits for its certificate, also after a restart', async () => {
    const { csrDer, authority } = await server.admin('AuthoritySources/CreateAuthorityCsr', {
      kind: 'issuing',
    });
    assert.equal(authority!.state, 'preparing');
    assert.equal(await asked({ csrDer }), 'KEY_RESERVED');
    await server.restart();
    assert.equal(await asked({ csrDer }), 'KEY_RESERVED');
    assert.equal(await asked({}), 'resolved');
  });

  test('takes every right: an admin with roles short of that is refused', async () => {
    await server.admin('Roles/PutRole', {
      role: {
        name: 'almost',
        verbs: ['authority.read', 'entry.*', 'certificate.*'],
        prefixes: ['spiffe://mesh.test/'],
        members: ['spiffe://mesh.test/admins/a'],
      },
    });
    const admin = await server.mint('spiffe://mesh.test/admins/a', { admin: true });
    for (const method of [
      'SignDownstream',
      'CreateAuthorityCsr',
      'ImportAuthority',
      'RequestAuthority',
    ]) {
      assert.equal(
        await codeOf(
          untypedCall(
            server.client(admin),
            `/meshca.admin.v1.AuthoritySources/${method}`,
            method === 'SignDownstream' ? { csrDer: await csr(), ttlSeconds: 30 * days } : {},
          ),
        ),
        'ROLE_MISSING',
        method,
      );
    }
  });
});
