import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metadata, type Client, type ServiceError } from '@grpc/grpc-js';
import { fromServiceError } from '../../../src/common/wire/index.ts';
import { allMethods, codeOf, startTestServer } from '../../support/server.ts';

/** Field 1, a length of 127 octets, and no more: no message of any method. */
const garbage = Buffer.from([0x0a, 0x7f, 0x01]);
const options = (): { readonly deadline: number } => ({ deadline: Date.now() + 10_000 });
const asIs = (bytes: Buffer): Buffer => bytes;

/** The code of the answer to these bytes. */
const answerTo = (client: Client, path: string, bytes: Buffer): Promise<string> =>
  new Promise((resolve) => {
    const method = allMethods()[path];
    assert.ok(method !== undefined, path);
    const failed = (error: ServiceError | null): void =>
      resolve(error === null ? 'OK' : fromServiceError(error).code);
    client.makeUnaryRequest(path, asIs, asIs, bytes, new Metadata(), options(), failed);
  });

test('what is no message gets our code from those who may call, and is not looked at for others', async () => {
  await using server = await startTestServer();
  const local = server.adminClient();
  const stranger = server.client();
  for (const path of [
    '/meshca.admin.v1.Entries/CreateEntries',
    '/meshca.admin.v1.Tokens/CreateJoinToken',
  ]) {
    assert.equal(await answerTo(local, path, garbage), 'INVALID_REQUEST', path);
    const wellFormed = await answerTo(stranger, path, Buffer.alloc(0));
    assert.notEqual(wellFormed, 'OK');
    assert.equal(await answerTo(stranger, path, garbage), wellFormed, path);
  }
});

test('a delegation with the DNS name of the CA itself is refused', async () => {
  await using server = await startTestServer({
    config: { listen: { port: 0, dnsNames: ['ca.mesh.test'] } },
  });
  const create = (dnsPattern: string): Promise<string> =>
    codeOf(
      server.admin('Delegations/CreateDelegation', {
        delegation: {
          clientId: 'spiffe://mesh.test/istiod',
          patterns: ['spiffe://mesh.test/ns/**'],
          maxTtlSeconds: 3600,
          dnsPatterns: [dnsPattern],
        },
      }),
    );
  assert.equal(await create('ca.mesh.test'), 'DNS_NAME_RESERVED');
  assert.equal(await create('web.mesh.test'), 'resolved');
});
