import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { standardApi } from '../../../../../sidecar/apis/standard/index.ts';
import { reportsContract, workloadContract } from '../../../../../src/common/wire/index.ts';
import { descriptorProblems } from '../../../../support/descriptors.ts';
import {
  healthClient,
  healthOf,
  reflect,
  reflectionClients,
} from '../../../../support/standard-services.ts';
import { until } from '../../../../support/until.ts';
import { startHarness } from '../../local-server/support.ts';

const contracts = [workloadContract(), reportsContract()];

/** A harness whose workload socket has the standard services; nobody has an identity. */
const startStandard = (ready: () => boolean) =>
  startHarness({
    api: { more: () => standardApi({ callers: { kind: 'workloads' }, ready, contracts }) },
  });

describe('the standard services on a socket of the agent', () => {
  test('tell a process without identity whether the agent serves', async () => {
    let ready = false;
    await using harness = await startStandard(() => ready);
    const client = healthClient(harness.path);
    assert.equal(await healthOf(client, ''), 'NOT_SERVING');
    ready = true;
    assert.equal(await healthOf(client, ''), 'SERVING');
    assert.equal(await healthOf(client, 'SpiffeWorkloadAPI'), 'NOT_FOUND');
    client.close();
  });

  test('show every contract, the one without a package too, in descriptors that are valid', async () => {
    await using harness = await startStandard(() => true);
    for (const client of reflectionClients(harness.path)) {
      const { listServicesResponse } = await reflect(client, { listServices: '*' });
      const names = listServicesResponse.service.map(({ name }: { name: string }) => name);
      assert.deepEqual(names.sort(), [
        'SpiffeWorkloadAPI',
        'grpc.health.v1.Health',
        'meshca.workload.v1.Reports',
      ]);
      for (const fileContainingSymbol of names) {
        const answer = await reflect(client, { fileContainingSymbol });
        assert.equal(answer.originalRequest.fileContainingSymbol, fileContainingSymbol);
        assert.deepEqual(descriptorProblems(answer.fileDescriptorResponse.fileDescriptorProto), []);
      }
      const missing = await reflect(client, { fileContainingSymbol: 'none' });
      assert.equal(missing.errorResponse.errorCode, 5);
      client.close();
    }
  });

  test('answer each request in turn, and end with the call', async () => {
    await using harness = await startStandard(() => true);
    const [client] = reflectionClients(harness.path);
    const stream = (client as any).ServerReflectionInfo();
    stream.on('error', () => {});
    const answered: string[] = [];
    stream.on('data', (answer: any) => answered.push(answer.originalRequest.fileByFilename));
    const asked = Array.from({ length: 50 }, (_, at) => `${at}.proto`);
    for (const fileByFilename of asked) stream.write({ fileByFilename });
    await until(() => answered.length === asked.length, 'an answer for each request');
    assert.deepEqual(answered, asked);
    stream.cancel();
    client?.close();
    await until(() => harness.api.connections() === 0, 'the connection to end');
  });
});
