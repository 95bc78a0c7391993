import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCsr } from '../../../../src/common/x509/index.ts';
import { entryCertificate } from '../../../support/entry-certificate.ts';
import {
  createCertificate,
  csrPem,
  istioClientId,
  startTestCluster,
} from '../../../support/istio.ts';
import { startTestServer } from '../../../support/server.ts';
import { createTokens } from '../../../support/softhsm.ts';

const web = 'spiffe://mesh.test/ns/shop/sa/web';
const newCsr = (): string =>
  csrPem(createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey));

test('a shortest life above that of a delegation or an entry refuses, and is given to nobody', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'meshca-lives-'));
  const dir = folder.path;
  await using tokens = await createTokens();
  await using cluster = await startTestCluster();
  const started = (minimumTtlSeconds: number) =>
    startTestServer({
      dir,
      tokens,
      config: { ...cluster.config, issuance: { minimumTtlSeconds, jwtDefaultTtlSeconds: 900 } },
    });
  const pod = async (validityDuration: number) => ({
    request: { csr: newCsr(), validityDuration },
    caller: { token: await cluster.token('shop/web') },
  });
  const before = async () => {
    await using server = await started(10);
    await server.admin('Delegations/CreateDelegation', {
      delegation: { clientId: istioClientId, patterns: [web], maxTtlSeconds: 300 },
    });
    const machine = await entryCertificate(server, {
      id: 'vm-db',
      spiffeId: 'spiffe://mesh.test/ns/vms/sa/db',
    });
    const { request, caller } = await pod(1);
    assert.equal((await createCertificate(server, request, caller)).code, 'OK');
    return machine;
  };
  const certificate = await before();
  await using server = await started(900);
  for (const validityDuration of [0, 1, 86_400]) {
    const { request, caller } = await pod(validityDuration);
    assert.equal((await createCertificate(server, request, caller)).code, 'TTL_OUT_OF_RANGE');
    const { code } = await createCertificate(server, request, { certificate });
    assert.equal(code, 'TTL_OUT_OF_RANGE');
  }
});
