import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createSecureContext } from 'node:tls';
import { certificatesToPem, sha256Hex } from '../../../src/common/x509/index.ts';
import { issueWithToken } from '../../../src/workload/index.ts';
import { codeOf, startTestServer, type TestServer } from '../../support/server.ts';
import { startTokenIssuer, tokenAudience, type TokenIssuer } from '../../support/token-issuer.ts';

describe('an identity by one call with a token', () => {
  let issuer: TokenIssuer;
  let server: TestServer;
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-token-svid-'));
    issuer = await startTokenIssuer();
    writeFileSync(join(dir, 'ca.pem'), issuer.caPem);
    server = await startTestServer({
      config: {
        tokens: {
          issuers: [
            {
              ...{ name: 'ci', type: 'oidc', issuer: issuer.url },
              ...{ audiences: [tokenAudience], caFile: join(dir, 'ca.pem') },
            },
          ],
        },
      },
    });
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: 'spiffe://mesh.test/ci/job',
          parentId: 'spiffe://mesh.test/meshca/token-issuer/ci',
          selectors: ['oidc:repository:example/app'],
        },
      ],
    });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await issuer?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const options = async () => ({
    server: `127.0.0.1:${server.server.port}`,
    trustDomain: 'mesh.test',
    token: await issuer.token({ repository: 'example/app' }),
  });

  test('it comes with a key that TLS takes, and is given back once', async () => {
    const rootsPem = certificatesToPem(server.rootsDer);
    const identity = await issueWithToken({ ...(await options()), rootsPem, ttlSeconds: 60 });
    assert.equal(identity.spiffeId, 'spiffe://mesh.test/ci/job');
    assert.equal(identity.rootsPem, rootsPem);
    const { certificateChainPem: cert, privateKeyPem: key } = identity;
    createSecureContext({ cert, key, ca: rootsPem });
    assert.match(
      new X509Certificate(cert).subjectAltName ?? '',
      /URI:spiffe:\/\/mesh\.test\/ci\/job/,
    );
    const given = await identity.giveBack();
    assert.deepEqual(given, { revoked: false, notAfter: identity.notAfter });
    assert.equal(await identity.giveBack(), given);
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'identity-token.ended',
    });
    assert.equal(records.length, 1);
  });

  test('the end of its block gives it back', async () => {
    const fingerprints = { rootFingerprints: [sha256Hex(server.rootsDer[0] as Buffer)] };
    const before = await server.admin('Audit/ListAuditRecords', { kind: 'identity-token.ended' });
    {
      await using identity = await issueWithToken({ ...(await options()), ...fingerprints });
      assert.ok(identity.notAfter > Date.now() / 1000);
    }
    const later = await server.admin('Audit/ListAuditRecords', { kind: 'identity-token.ended' });
    assert.equal(later.records.length - before.records.length, 1);
  });

  test('an impostor gets no token, and refusals have the codes of the server', async () => {
    const asked = await options();
    const wrong = { ...asked, rootFingerprints: ['0'.repeat(64)] };
    assert.equal(await codeOf(issueWithToken(wrong)), 'SERVER_UNTRUSTED');
    const rootsPem = certificatesToPem(server.rootsDer);
    const other = { ...asked, rootsPem, trustDomain: 'other.test' };
    assert.equal(await codeOf(issueWithToken(other)), 'SERVER_UNTRUSTED');
    await issueWithToken({ ...asked, rootsPem });
    assert.equal(await codeOf(issueWithToken({ ...asked, rootsPem })), 'TOKEN_REPLAYED');
    assert.equal(await codeOf(issueWithToken(asked)), 'INVALID_REQUEST');
    const nobody = { ...(await options()), rootsPem, server: '127.0.0.1:1' };
    assert.equal(await codeOf(issueWithToken(nobody)), 'UNREACHABLE');
  });
});
