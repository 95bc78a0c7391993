import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificatesToPem, sha256Hex } from '../../../src/common/x509/index.ts';
import {
  connected,
  nodeAt,
  refused,
  rotateIssuing,
  wakesAfter,
} from '../../support/first-contact.ts';
import { startImpostor, startJunction } from '../../support/impostor.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test('a CA downstream that poses as the server gets no join token, whatever the node checks by', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const dir = await mkdtemp(join(tmpdir(), 'meshca-impostor-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const pem = join(dir, 'bundle.pem');
  await writeFile(pem, certificatesToPem(server.rootsDer));
  const rootFingerprint = sha256Hex(server.rootsDer[0] as Buffer);
  const { issuerFingerprints } = await server.admin('Tokens/CreateJoinToken', { agentName: 'x' });
  assert.equal(issuerFingerprints.length, 1);
  for (const bootstrap of [
    { rootFingerprint },
    { bundlePath: pem },
    { rootFingerprint, issuerFingerprint: issuerFingerprints[0] },
    { bundlePath: pem, issuerFingerprint: issuerFingerprints[0] },
  ]) {
    await using node = await nodeAt(server, impostor.address, bootstrap);
    await node.start();
    await refused(node);
    assert.deepEqual(impostor.fake.attestations, []);
  }
  // nothing else keeps the node from it: named by the operator, it is sent the token
  await using believing = await nodeAt(server, impostor.address, {
    rootFingerprint,
    issuerFingerprint: impostor.issuerFingerprint,
  });
  await believing.start();
  await until(() => impostor.fake.attestations.length > 0, 'an attestation');
});

test('a running agent is not taken over by it, and comes back when the way is free', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const junction = stack.use(await startJunction(server.server.port));
  const node = stack.use(
    await nodeAt(server, junction.address, {
      rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer),
    }),
  );
  await node.start();
  await connected(node);
  const port = Number(impostor.address.split(':')[1]);
  junction.turn(port);
  await refused(node);
  await node.stop();
  await node.start();
  await refused(node);
  assert.deepEqual([impostor.fake.sessions.length, impostor.fake.attestations.length], [0, 0]);
  junction.turn(server.server.port);
  await connected(node);
});

test('an agent that slept through rotations of the intermediate wakes and walks to the new issuer', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(
    await startTestServer({
      config: { issuance: { bundleRefreshHintSeconds: 1 }, rotation: { automatic: false } },
    }),
  );
  const junction = stack.use(await startJunction(server.server.port));
  const node = stack.use(
    await nodeAt(server, junction.address, {
      rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer),
    }),
  );
  await node.start();
  await connected(node);
  await wakesAfter({ node, server, junction }, async () => {
    for (let round = 0; round < 2; round += 1) await rotateIssuing(server);
  });
});
