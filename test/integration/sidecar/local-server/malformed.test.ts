import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { standardApi } from '../../../../sidecar/apis/standard/index.ts';
import { fromServiceError, workloadContract } from '../../../../src/common/wire/index.ts';
import { entryOf } from '../../../support/local-server-fakes.ts';
import { header, startHarness } from './support.ts';

/** Field 1000 of the wire type 7, which there is not: no message of any method. */
const garbage = Buffer.from([0xc7, 0x3e]);
const asIs = (bytes: Buffer): Buffer => bytes;

/** The code of the answer to these bytes, as the one message of a call. */
function answerTo(client: Client, path: string, bytes: Buffer, metadata: Metadata) {
  const call = client.makeBidiStreamRequest(path, asIs, asIs, metadata);
  return new Promise<string>((resolve) => {
    call.on('data', () => {
      resolve('OK');
      call.cancel();
    });
    call.on('error', (error: ServiceError) => resolve(fromServiceError(error).code));
    call.end(bytes);
  });
}

test('what is no message gets our code on every kind of call, and is not looked at for others', async () => {
  const contracts = [workloadContract()];
  await using harness = await startHarness({
    api: {
      more: () => standardApi({ callers: { kind: 'workloads' }, ready: () => true, contracts }),
    },
  });
  harness.entries.set(entryOf('web', 'spiffe://td.test/web', ['unix:uid:0']));
  const client = new Client(`unix:${harness.path}`, credentials.createInsecure());
  for (const path of [
    '/SpiffeWorkloadAPI/FetchX509SVID',
    '/SpiffeWorkloadAPI/FetchX509Bundles',
    '/SpiffeWorkloadAPI/FetchJWTSVID',
    '/SpiffeWorkloadAPI/ValidateJWTSVID',
  ]) {
    assert.equal(await answerTo(client, path, garbage, header()), 'INVALID_REQUEST', path);
    const without = await answerTo(client, path, Buffer.alloc(0), new Metadata());
    assert.notEqual(without, 'OK');
    assert.equal(await answerTo(client, path, garbage, new Metadata()), without, path);
  }
  for (const path of [
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    '/grpc.health.v1.Health/Check',
  ])
    assert.equal(await answerTo(client, path, garbage, new Metadata()), 'INVALID_REQUEST', path);
  assert.equal(
    await answerTo(client, '/SpiffeWorkloadAPI/FetchX509SVID', Buffer.alloc(0), header()),
    'OK',
  );
  client.close();
});
