import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { descriptorProblems } from '../../../support/descriptors.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import {
  healthClient,
  healthOf,
  reflect,
  reflectionClients,
} from '../../../support/standard-services.ts';

describe('health and reflection of the server', () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server[Symbol.asyncDispose]());

  test('the health of an unknown service is NOT_FOUND, that of the server is told', async () => {
    const client = healthClient(server.server.adminSocketPath);
    assert.equal(await healthOf(client, ''), 'SERVING');
    assert.equal(await healthOf(client, 'meshca.admin.v1.Entries'), 'NOT_FOUND');
    client.close();
  });

  test('every service is shown in descriptors that strict readers take', async () => {
    for (const client of reflectionClients(server.server.adminSocketPath)) {
      const { listServicesResponse } = await reflect(client, { listServices: '*' });
      const names = listServicesResponse.service.map(({ name }: { name: string }) => name);
      assert.ok(names.includes('meshca.signing.v1.Signing') && names.length > 12, names.join());
      for (const fileContainingSymbol of names) {
        const { fileDescriptorResponse } = await reflect(client, { fileContainingSymbol });
        assert.deepEqual(descriptorProblems(fileDescriptorResponse.fileDescriptorProto), []);
      }
      client.close();
    }
  });
});
