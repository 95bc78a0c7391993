import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../../../src/common/x509/index.ts';
import { makeAuthority, makeCertificate, makeKey, leafExtensions } from '../../../support/x509.ts';
import { agentId, issuersByMark } from '../../../support/agent-fake-server.ts';
import { past, until } from '../../../support/until.ts';
import {
  selectors,
  seconds,
  directoryFor,
  startAgent,
  startServer,
  identityOf,
} from './session-support.ts';

test('an agent joins by token and fingerprint, syncs, and obtains an SVID; its state is private', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, { directory });
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.equal(agent.identity.spiffeId?.toString(), agentId);
  assert.equal(agent.bundles.current()?.sequence, 1);
  const subscription = agent.x509.acquire(identityOf(agent), selectors);
  const svid = await subscription.ready();
  assert.equal(svid.identity.spiffeId.toString(), 'spiffe://td/web');
  assert.equal((await stat(directory)).mode & 0o777, 0o700);
  assert.equal((await stat(join(directory, 'agent-svid.json'))).mode & 0o777, 0o600);
  await assert.rejects(
    stat(join(directory, 'pending-request.json')),
    'an answered request leaves nothing pending',
  );
});

test('a request with a lost answer is repeated with the same key and ID, also after a restart', async (context) => {
  const server = await startServer(context);
  server.loseAnswers = 2;
  const directory = await directoryFor(context);
  const first = await startAgent(context, server, { directory });
  await until(() => server.attestations.length >= 1, 'an attestation');
  await first.stop();
  const second = await startAgent(context, server, { directory });
  await until(() => second.cache.synced(), 'the snapshot');
  assert.ok(server.attestations.length >= 3);
  assert.equal(new Set(server.attestations.map(({ requestId, spki }) => requestId + spki)).size, 1);
});

test('an agent with a kept SVID comes back without attesting', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const first = await startAgent(context, server, { directory });
  await until(() => first.cache.synced(), 'the snapshot');
  await first.stop();
  const second = await startAgent(context, server, { directory, nodeAttestation: {} });
  await until(() => second.cache.synced(), 'the snapshot');
  assert.equal(server.attestations.length, 1);
});

test('an agent whose SVID expired proves its last key and needs nobody', async (context) => {
  const server = await startServer(context);
  server.agentTtlSeconds = 1;
  const directory = await directoryFor(context);
  const first = await startAgent(context, server, { directory });
  await until(() => server.attestations.length === 1, 'the attestation');
  await first.stop();
  await past(Math.floor(Date.now() / 1000) + 1);
  server.agentTtlSeconds = 3600;
  const kept = JSON.parse(await readFile(join(directory, 'agent-svid.json'), 'utf8')) as {
    privateKey: string;
  };
  server.lastAgentKey = createPublicKey(
    createPrivateKey({ key: Buffer.from(kept.privateKey, 'base64'), format: 'der', type: 'pkcs8' }),
  );
  const second = await startAgent(context, server, { directory, nodeAttestation: {} });
  await until(() => second.cache.synced(), 'the snapshot');
  assert.equal(server.attestations.at(-1)?.method, 'expiredSvid');
});

test('a node certificate attests its node; a challenge of another connection gets no signature', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const nodeCa = makeAuthority('nodes', { notBefore: seconds() - 60, notAfter: seconds() + 3600 });
  const node = makeCertificate({
    key: makeKey(),
    issuer: nodeCa,
    notBefore: seconds() - 60,
    notAfter: seconds() + 3600,
    extensions: leafExtensions(nodeCa),
  });
  const base = join(directory, '..');
  await writeFile(join(base, 'node.pem'), certificatesToPem([node.parsed.raw]));
  await writeFile(join(base, 'node.key'), pemEncode('PRIVATE KEY', pkcs8Of(node.key.privateKey)));
  server.corruptChallenge = true;
  const agent = await startAgent(context, server, {
    directory,
    nodeAttestation: {
      x509pop: { certificatePath: join(base, 'node.pem'), keyPath: join(base, 'node.key') },
    },
  });
  await until(
    () => agent.session.status().lastError?.code === 'SERVER_UNTRUSTED',
    'the refusal of the agent',
  );
  server.corruptChallenge = false;
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.ok(server.attestations.every(({ method }) => method === 'x509pop'));
  const before = server.attestations.length;
  server.syncRefusal = 'AGENT_EVICTED';
  await server.stop();
  await server.restart();
  await until(() => server.attestations.length > before, 'a new attestation after the eviction');
  server.syncRefusal = undefined;
  await until(() => agent.session.connected(), 'the session');
  assert.equal(agent.session.status().barred, undefined);
});

test('a wrong server gets no token', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, {
    directory,
    trust: { kind: 'fingerprint', rootsSha256Hex: ['00'.repeat(32)], issuers: issuersByMark },
  });
  await until(
    () => agent.session.status().lastError?.code === 'SERVER_UNTRUSTED',
    'the refusal of the agent',
  );
  assert.equal(server.attestations.length, 0);
});

test('the own SVID is renewed over its connection, and the next one shows it without a gap', async (context) => {
  const server = await startServer(context);
  server.agentTtlSeconds = 15;
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  let gaps = 0;
  agent.session.onChange(() => {
    if (!agent.session.connected()) gaps += 1;
  });
  await until(() => server.sessions.length >= 3, 'two rotations');
  assert.equal(gaps, 0);
  assert.ok(server.renewals.length >= 2);
  const shown = server.clientSerials.filter((serial) => serial !== undefined);
  assert.equal(new Set(shown).size, shown.length, 'each connection shows another certificate');
});

test('a call that the next SVID of its agent overtakes is made again with that one', async (context) => {
  const server = await startServer(context);
  server.agentTtlSeconds = 15;
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  server.supersedes = () => until(() => server.sessions.length >= 2, 'the next session');
  const { token } = await agent.jwt.fetch(identityOf(agent), ['api'], selectors);
  assert.equal(token, 'token-2');
  const [first, second] = server.jwtCalls;
  assert.equal(first?.requestId, second?.requestId);
});

test('an agent whose call another process overtook is told, and does not ask again', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  server.supersedes = async () => {};
  await assert.rejects(agent.jwt.fetch(identityOf(agent), ['api'], selectors), {
    code: 'AGENT_SUPERSEDED',
  });
  assert.equal(server.jwtCalls.length, 1);
});

test('a banned agent gets nothing new, keeps what is valid, and says why', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  const subscription = agent.x509.acquire(identityOf(agent), selectors);
  const svid = await subscription.ready();
  server.syncRefusal = 'AGENT_BANNED';
  await server.stop();
  await server.restart();
  await until(() => agent.session.status().barred?.code === 'AGENT_BANNED', 'the ban');
  assert.equal(subscription.current()?.serial, svid.serial);
  await assert.rejects(agent.jwt.fetch(identityOf(agent), ['a'], selectors), {
    code: 'AGENT_BANNED',
  });
});

test('an evicted agent does not try its used token again', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, { directory });
  await until(() => agent.cache.synced(), 'the snapshot');
  server.syncRefusal = 'AGENT_EVICTED';
  await server.stop();
  await server.restart();
  await until(() => agent.session.status().barred?.code === 'AGENT_EVICTED', 'the eviction');
  assert.equal(server.attestations.length, 1, 'the used token is not tried again');
});
