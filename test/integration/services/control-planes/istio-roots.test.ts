import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { certificatesFromPem, createCsr } from '../../../../src/common/x509/index.ts';
import {
  createCertificate,
  csrPem,
  istioClientId,
  startTestCluster,
} from '../../../support/istio.ts';
import { rotationOf } from '../../../support/mesh.ts';
import { startTestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

test('a new root waits for each pod by name, until the pod renews with the same UID', async () => {
  await using cluster = await startTestCluster();
  await using server = await startTestServer({ config: cluster.config });
  await server.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: istioClientId,
      patterns: ['spiffe://mesh.test/ns/shop/sa/*'],
      maxTtlSeconds: 3600,
    },
  });
  /** The number of roots that came with a new certificate of this pod. */
  const renew = async (uid: string): Promise<number> => {
    const token = await cluster.token('shop/web', { uid });
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const csr = csrPem(createCsr(privateKey));
    const { code, certChain } = await createCertificate(server, { csr }, { token });
    assert.equal(code, 'OK');
    return unwrap(certificatesFromPem(certChain.at(-1) as string)).length;
  };
  const waitedFor = async (): Promise<readonly string[]> => {
    const published = await rotationOf(server).inState('root', 'published');
    return (published?.confirmation?.inferredHolders ?? []).map(({ holder }) => holder).sort();
  };
  assert.equal(await renew('first'), 1);
  assert.equal(await renew('second'), 1);
  await server.admin('Authorities/RotateAuthorities', { kind: 'root', stopAfter: 'published' });
  await until(
    async () => (await rotationOf(server).inState('root', 'published')) !== undefined,
    'the new root is published',
  );
  const [first, second] = ['pod:prod/web-0/first', 'pod:prod/web-0/second'];
  // rotation looks at who holds what once the root is published
  await until(
    async () => isDeepStrictEqual(await waitedFor(), [first, second]),
    'the root waits for both pods',
  );
  // a certificate of the very second of the publication may have come without the new root
  await until(async () => {
    assert.equal(await renew('first'), 2);
    return !(await waitedFor()).includes(first as string);
  }, 'the renewal of the first pod counts');
  assert.deepEqual(await waitedFor(), [second]);
  // another pod of the same account settles nothing
  await renew('third');
  assert.deepEqual(await waitedFor(), [second]);
});
