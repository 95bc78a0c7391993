import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createSecureContext } from 'node:tls';
import { certificatesToPem, sha256Hex } from '../../../src/common/x509/index.ts';
import { issueWithToken } from '../../../src/workload/index.ts';
import { codeOf, startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';
import { startTokenIssuer, tokenAudience, type TokenIssuer } from '../../support/token-issuer.ts';

/** More than the end of a handshake, and less than a token. */
const bytesOfRequest = 700;

/** Loses the answer to the first request: it ends that connection when `answered` resolves. */
async function answerLosingRelay(port: number, answered: () => Promise<void>) {
  let lost = 0;
  const sockets = new Set<Socket>();
  const listener = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    let greeted = false;
    let withheld = false;
    client.on('data', (bytes: Buffer) => {
      upstream.write(bytes);
      if (greeted && lost === 0 && bytes.length > bytesOfRequest) {
        withheld = true;
        lost += 1;
        void answered().finally(() => client.destroy());
      }
      greeted = true;
    });
    upstream.on('data', (bytes: Buffer) => {
      if (!withheld) client.write(bytes);
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port: (listener.address() as AddressInfo).port,
    lost: () => lost,
    close: () => {
      listener.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

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
    const upper = sha256Hex(server.rootsDer[0] as Buffer).toUpperCase();
    const fingerprints = { rootFingerprints: [(upper.match(/../g) ?? []).join(':')] };
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
    const short = { ...asked, rootFingerprints: ['0'.repeat(63)] };
    assert.equal(await codeOf(issueWithToken(short)), 'INVALID_REQUEST');
    const nobody = { ...(await options()), rootsPem, server: '127.0.0.1:1', waitMs: 0 };
    assert.equal(await codeOf(issueWithToken(nobody)), 'UNREACHABLE');
  });

  test('a lost answer comes again: the call is repeated with the same token and key', async () => {
    const rootsPem = certificatesToPem(server.rootsDer);
    const used = async (): Promise<number> =>
      (await server.admin('Audit/ListAuditRecords', { kind: 'identity-token.used' })).records
        .length;
    const before = await used();
    const relay = await answerLosingRelay(server.server.port, async () => {
      await until(async () => (await used()) > before, 'the certificate is on record');
    });
    try {
      const identity = await issueWithToken({
        ...(await options()),
        rootsPem,
        server: `127.0.0.1:${relay.port}`,
      });
      assert.ok(identity.serial !== '');
      assert.deepEqual([relay.lost(), await used()], [1, before + 1]);
    } finally {
      relay.close();
    }
  });
});
