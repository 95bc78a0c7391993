import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { standardApi } from '../../sidecar/apis/standard/index.ts';
import { reportsContract, sdsContract, workloadContract } from '../../src/common/wire/index.ts';
import { startHarness } from '../integration/sidecar/local-server/support.ts';
import { startTestServer } from '../support/server.ts';
import { foreignProgram } from './foreign-programs.ts';

const run = promisify(execFile);

/** What grpcurl prints: standard output, and standard error where it fails. */
async function grpcurl(
  path: string,
  options: readonly string[],
  ...rest: string[]
): Promise<string> {
  const [program = ''] = foreignProgram('grpcurl');
  const args = ['-plaintext', '-authority', 'localhost', ...options, `unix://${path}`, ...rest];
  try {
    return (await run(program, args)).stdout;
  } catch (thrown) {
    return (thrown as { stderr: string }).stderr;
  }
}

/** Every service of a socket, each of whose methods grpcurl can describe with its messages. */
async function describedServices(path: string): Promise<readonly string[]> {
  const services = (await grpcurl(path, [], 'list')).trim().split('\n');
  for (const service of services) {
    const text = await grpcurl(path, [], 'describe', service);
    assert.match(text, /is a service:/, `${service}: ${text}`);
    for (const [, message = ''] of text.matchAll(/\( (?:stream )?(\.[\w.]+) \)/g)) {
      const described = await grpcurl(path, [], 'describe', message);
      assert.match(described, /is a message:/, `${message}: ${described}`);
    }
  }
  return services;
}

describe('grpcurl', () => {
  test('describes every service of the server, and calls some', async () => {
    await using server = await startTestServer();
    const path = server.server.adminSocketPath;
    const services = await describedServices(path);
    for (const name of ['meshca.admin.v1.Entries', 'meshca.signing.v1.Signing'])
      assert.ok(services.includes(name), services.join());
    const status = await grpcurl(path, [], 'meshca.admin.v1.Server/GetStatus');
    assert.equal((JSON.parse(status) as { trustDomain: string }).trustDomain, 'mesh.test');
    assert.match(await grpcurl(path, [], 'grpc.health.v1.Health/Check'), /SERVING/);
    const unknown = ['-d', '{"service":"none"}'];
    assert.match(await grpcurl(path, unknown, 'grpc.health.v1.Health/Check'), /NotFound/);
  });

  test('describes every service of a workload socket, and calls some', async () => {
    const contracts = [workloadContract(), reportsContract(), sdsContract()];
    const ready = (): boolean => true;
    await using harness = await startHarness({
      api: { more: () => standardApi({ callers: { kind: 'workloads' }, ready, contracts }) },
    });
    const services = await describedServices(harness.path);
    assert.deepEqual(services, [
      'SpiffeWorkloadAPI',
      'envoy.service.secret.v3.SecretDiscoveryService',
      'grpc.health.v1.Health',
      'meshca.workload.v1.Reports',
    ]);
    const call = 'SpiffeWorkloadAPI/FetchX509SVID';
    assert.match(await grpcurl(harness.path, [], call), /InvalidArgument/);
    const header = ['-H', 'workload.spiffe.io: true'];
    assert.match(await grpcurl(harness.path, header, call), /PermissionDenied/);
    assert.match(await grpcurl(harness.path, [], 'grpc.health.v1.Health/Check'), /SERVING/);
  });
});
