import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metadata, type Client, type ServiceError } from '@grpc/grpc-js';
import { fromServiceError } from '../../../src/common/wire/index.ts';
import { allMethods, codeOf, startTestServer } from '../../support/server.ts';

/** Field 1000 of the wire type 7, which there is not: no message of any method. */
const garbage = Buffer.from([0xc7, 0x3e]);
const options = (): { readonly deadline: number } => ({ deadline: Date.now() + 10_000 });
const asIs = (bytes: Buffer): Buffer => bytes;

/** The code of the answer to these bytes, as the one message of a call. */
function answerTo(client: Client, path: string, bytes: Buffer): Promise<string> {
  const method = allMethods()[path];
  return method === undefined || method.requestStream || method.responseStream
    ? answerOnStream(client, path, bytes)
    : new Promise((resolve) => {
        const failed = (error: ServiceError | null): void =>
          resolve(error === null ? 'OK' : fromServiceError(error).code);
        client.makeUnaryRequest(path, asIs, asIs, bytes, new Metadata(), options(), failed);
      });
}

/** A server that takes one message from a stream can not be told from a unary call. */
function answerOnStream(client: Client, path: string, bytes: Buffer): Promise<string> {
  const call = client.makeBidiStreamRequest(path, asIs, asIs, new Metadata(), options());
  return new Promise((resolve) => {
    call.on('data', () => {});
    call.on('error', (error: ServiceError) => resolve(fromServiceError(error).code));
    call.on('end', () => resolve('OK'));
    call.end(bytes);
  });
}

const reflection = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';

test('what is no message gets our code from those who may call, and is not looked at for others', async () => {
  await using server = await startTestServer();
  const local = server.adminClient();
  const stranger = server.client();
  const administration = Object.keys(allMethods()).filter((path) =>
    path.startsWith('/meshca.admin.'),
  );
  assert.ok(administration.length > 40);
  for (const path of [...administration, reflection]) {
    assert.equal(await answerTo(local, path, garbage), 'INVALID_REQUEST', path);
    const wellFormed = await answerTo(stranger, path, Buffer.alloc(0));
    assert.notEqual(wellFormed, 'OK');
    assert.equal(await answerTo(stranger, path, garbage), wellFormed, path);
  }
  for (const path of ['/grpc.health.v1.Health/Watch', '/meshca.issuer.v1.NodeAttestation/Attest'])
    assert.equal(await answerTo(stranger, path, garbage), 'INVALID_REQUEST', path);
  const sync = '/meshca.issuer.v1.AgentIssuer/Sync';
  const agent = server.client(await server.joinAgent('node-1'));
  assert.equal(await answerTo(agent, sync, garbage), 'INVALID_REQUEST');
  assert.equal(await answerTo(stranger, sync, garbage), 'UNAUTHENTICATED');
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
