import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { sha256Hex } from '../../../../src/common/x509/index.ts';
import { IssuerConnection } from '../../../../sidecar/issuer-client/index.ts';
import {
  attestByToken,
  startTestServer,
  testTrustDomain,
  type TestServer,
} from '../../../support/server.ts';
import { patienceMs, until } from '../../../support/until.ts';

interface MadeToken {
  readonly token: string;
  readonly rootFingerprints: readonly string[];
}

const makeToken = (server: TestServer, agentName: string): Promise<MadeToken> =>
  server.admin('Tokens/CreateJoinToken', { agentName, ttlSeconds: 3600 });

/** Whether an agent with this fingerprint believes the server. */
async function believes(server: TestServer, fingerprint: string): Promise<boolean> {
  try {
    const connection = await IssuerConnection.open({
      address: `127.0.0.1:${server.server.port}`,
      trust: {
        kind: 'fingerprint',
        rootsSha256Hex: [fingerprint],
        issuers: () => ({ kind: 'mark' }),
      },
      trustDomain: TrustDomain.of(testTrustDomain),
      identity: undefined,
      clock: systemClock,
      connectTimeoutMs: patienceMs,
      callDeadlineMs: patienceMs,
      keepaliveMs: patienceMs,
    });
    connection.close();
    return true;
  } catch (thrown) {
    assert.equal((thrown as { code?: string }).code, 'SERVER_UNTRUSTED');
    return false;
  }
}

/** Joins as an agent does that has the token and its fingerprint. */
async function join(server: TestServer, made: MadeToken, step: string): Promise<string> {
  assert.ok(await believes(server, made.rootFingerprints[0] ?? ''), `${step}: SERVER_UNTRUSTED`);
  const { rootsDer } = await server.admin('Authorities/GetBundle');
  return (await attestByToken(server.client(undefined, rootsDer), made.token)).spiffeId;
}

async function roots(server: TestServer): Promise<Record<string, string>> {
  const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'root' });
  return Object.fromEntries(
    (authorities as { kind: string; state: string; certificateDer: Buffer }[])
      .filter(({ kind }) => kind === 'root')
      .map(({ state, certificateDer }) => [state, sha256Hex(certificateDer)]),
  );
}

test('nodes join at every step of a rotation of the root, also with tokens from before the switch', async () => {
  await using server = await startTestServer({
    config: { issuance: { bundleRefreshHintSeconds: 1 }, rotation: { automatic: false } },
  });
  let nodes = 0;
  const joins = async (step: string, made?: MadeToken): Promise<void> => {
    nodes += 1;
    await join(server, made ?? (await makeToken(server, `node-${nodes}`)), step);
  };
  const fromBefore = await makeToken(server, 'from-before');
  await joins('before');
  await server.admin('Authorities/RotateAuthorities', { kind: 'root', stopAfter: 'prepared' });
  await until(async () => (await roots(server))['prepared'] !== undefined, 'prepared');
  await joins('prepared');
  await server.admin('Authorities/ContinueRotation', { kind: 'root', stopAfter: 'published' });
  await until(async () => (await roots(server))['published'] !== undefined, 'published');
  await joins('published');
  const { active: first = '', published: second = '' } = await roots(server);
  const whilePublished = await makeToken(server, 'while-published');
  assert.equal(whilePublished.rootFingerprints[0], first);
  assert.deepEqual(whilePublished.rootFingerprints, [first, second]);

  await server.admin('Authorities/ContinueRotation', {
    kind: 'root',
    force: true,
    reason: 'the agents of this test have no sync session',
  });
  await until(async () => (await roots(server))['active'] === second, 'active');
  await joins('active');
  await joins('active, token from while it was published', whilePublished);
  await joins('active, token from before the rotation', fromBefore);

  const afterwards = await makeToken(server, 'afterwards');
  assert.deepEqual(new Set(afterwards.rootFingerprints), new Set([first, second]));

  const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'root' });
  const old = authorities.find(({ certificateDer }) => sha256Hex(certificateDer) === first);
  const ending = { id: old?.id ?? '', reason: 'its key may be in other hands', force: true };
  await server.admin('Authorities/TaintAuthority', ending);
  await until(async () => (await roots(server))['tainted'] === first, 'tainted');
  await joins('the earlier root is tainted');
  await server.admin('Authorities/RevokeAuthority', ending);
  await until(async () => (await roots(server))['revoked'] === first, 'revoked');
  const settled = async (): Promise<boolean> =>
    (await server.admin('Authorities/GetRotationStatus')).operations.length === 0;
  await until(settled, 'the rotation is over');
  await until(() => believes(server, second), 'the server shows the new root');
  await joins('the earlier root is revoked');
});
