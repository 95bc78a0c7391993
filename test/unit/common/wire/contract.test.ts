import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PackageDefinition } from '@grpc/proto-loader';
import { contractFrom } from '../../../../src/common/wire/contract.ts';
import { contractJson, contractPaths } from '../../../../src/common/wire/contract-json.ts';
import { workloadContract } from '../../../../src/common/wire/index.ts';

const methodsOf = (definition: PackageDefinition | object): readonly object[] =>
  Object.entries(definition)
    .filter(([, part]) => !('format' in part))
    .flatMap(([service, methods]) =>
      Object.values(methods as object).map(
        ({ path, requestStream, responseStream, originalName }) => ({
          service,
          path,
          requestStream,
          responseStream,
          originalName,
        }),
      ),
    );

test('every contract has the services and methods that proto-loader makes of it', async () => {
  for (const path of contractPaths) {
    const contract = contractFrom(() => contractJson(path));
    const described = methodsOf(await contract.describe());
    assert.ok(described.length > 0, path);
    assert.deepEqual(methodsOf(contract.services), described, path);
  }
});

test('messages are written and read as proto-loader does', async () => {
  const service = 'SpiffeWorkloadAPI';
  const described = (await workloadContract().describe())[service] as unknown as Messages;
  const made = workloadContract().services[service] as unknown as Messages;
  const message = { svids: [{ spiffeId: 'spiffe://td.test/a', x509Svid: Buffer.from('der') }] };
  const bytes = made.FetchX509SVID.responseSerialize(message);
  assert.deepEqual(bytes, described.FetchX509SVID.responseSerialize(message));
  const read = made.FetchX509SVID.responseDeserialize(bytes);
  assert.deepEqual(read, described.FetchX509SVID.responseDeserialize(bytes));
  assert.deepEqual((read as typeof message).svids[0]?.x509Svid, Buffer.from('der'));
});

interface Messages {
  readonly FetchX509SVID: {
    responseSerialize(message: object): Buffer;
    responseDeserialize(bytes: Buffer): object;
  };
}
