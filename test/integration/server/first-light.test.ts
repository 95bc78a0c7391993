import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { startTestServer, unaryCall, codeOf } from '../../support/server.ts';

test('a server starts from nothing, issues to an agent, and keeps its trust domain over a restart', async () => {
  await using t = await startTestServer();
  const agent = await t.joinAgent('node-1');
  assert.equal(agent.spiffeId, 'spiffe://mesh.test/meshca/agent/node-1');
  const before = t.rootsDer.map((der) => new X509Certificate(der).fingerprint256);
  const { certificates } = await t.admin('Certificates/ListCertificates', {
    filter: { spiffeId: agent.spiffeId },
  });
  assert.equal(certificates[0]!.serial, agent.serial);
  assert.equal(certificates[0]!.state, 'issued');
  await t.restart();
  const { rootsDer } = await t.admin('Authorities/GetBundle');
  assert.deepEqual(
    (rootsDer as Buffer[]).map((der) => new X509Certificate(der).fingerprint256),
    before,
  );
  assert.equal(
    await codeOf(unaryCall(t.client(agent), '/meshca.admin.v1.Entries/ListEntries')),
    'CALLER_NOT_ADMITTED',
  );
  assert.equal(
    await codeOf(unaryCall(t.client(), '/meshca.admin.v1.Entries/ListEntries')),
    'UNAUTHENTICATED',
  );
});
