import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { fromServiceError, workloadContract } from '../../../../src/common/wire/index.ts';
import { startAgent } from '../../../../sidecar/compose.ts';
import { agentConfigSchema } from '../../../../sidecar/config.ts';
import { targetSelector } from '../../../../sidecar/ports/file-targets.ts';
import { selectorText } from '../../../../src/common/spiffe/index.ts';
import { agentEnvironment } from '../../../support/agent-environment.ts';
import { defer, FakeServer, joinToken, wireEntry } from '../../../support/agent-fake-server.ts';
import { entryOf } from '../../../support/local-server-fakes.ts';
import { connectSds, SdsStream } from '../../../support/sds-client.ts';
import { until } from '../../../support/until.ts';
import { collect, header, startHarness } from '../local-server/support.ts';

test('no process gets the identity of a file target, whoever it runs as', async () => {
  await using harness = await startHarness();
  const selector = selectorText(targetSelector('web'));
  assert.equal(selector, 'target:name:web');
  harness.entries.set(
    entryOf('web', 'spiffe://td.test/web', [selector]),
    entryOf('both', 'spiffe://td.test/both', [selector, `unix:uid:${process.getuid?.()}`]),
  );
  const error = await collect(harness.client().FetchX509SVID({}, header())).error();
  assert.equal(fromServiceError(error).code, 'NO_IDENTITY');
  const refusal = harness.refusals.get(String(fromServiceError(error).detail['refusalId']));
  assert.deepEqual(
    refusal?.selectors.filter(({ type }) => type === 'target'),
    [],
  );
});

test('no socket of an agent gives out an entry for names, whatever selectors a server puts on it', async (context) => {
  const server = new FakeServer();
  const names = { dnsNames: ['www.shop.test'], ips: ['192.0.2.7'] };
  server.entries = [
    wireEntry('uid', [`unix:uid:${process.getuid?.()}`], { ...names, profile: 'short' }),
    wireEntry('target', ['target:name:web'], { ...names, profile: 'classic' }),
    wireEntry('other', ['unix:uid:4000000'], {}),
  ];
  await server.start();
  defer(context, () => server.stop());
  const directory = await mkdtemp(join(tmpdir(), 'meshca-names-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const socketPath = join(directory, 'w');
  const agent = await startAgent(
    agentEnvironment(
      agentConfigSchema.parse({
        trustDomain: 'td',
        serverAddress: server.address,
        dataDir: join(directory, 'd'),
        bootstrap: { rootFingerprint: server.rootFingerprint },
        attestation: { joinToken: { token: joinToken } },
        workloadApi: { socketPath },
        localApi: { socketPath: join(directory, 'l') },
        ops: { port: 0 },
      }),
    ),
  );
  defer(context, () => agent[Symbol.asyncDispose]());
  const asked = (): readonly string[] => server.signCalls.flat().map(({ entryId }) => entryId);
  await until(() => asked().includes('other'), 'what is obtained ahead of use');
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${socketPath}`,
    credentials.createInsecure(),
  );
  defer(context, () => client.close());
  const x509 = await collect(client.FetchX509SVID({}, header())).error();
  assert.equal(fromServiceError(x509).code, 'NO_IDENTITY');
  const jwt = await new Promise<ServiceError>((resolve, reject) => {
    client.FetchJWTSVID({ audience: ['api'] }, header(), (error) =>
      error === null ? reject(new Error('a token was given')) : resolve(error),
    );
  });
  assert.equal(fromServiceError(jwt).code, 'NO_IDENTITY');
  const proxy = connectSds(socketPath);
  defer(context, () => proxy.destroy());
  const got: string[] = [];
  const ended = new Promise<string>((resolve) => {
    new SdsStream(proxy, {
      ...{ node: 'proxy', name: 'default', onEnd: resolve },
      onSecret: ({ version }) => {
        got.push(version);
        return 'acknowledge';
      },
    });
  });
  assert.match(await ended, /NO_IDENTITY|identity/);
  assert.deepEqual(got, []);
  assert.deepEqual(new Set(asked()), new Set(['other']));
  assert.deepEqual(server.jwtCalls, []);
});
