import assert from 'node:assert/strict';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { fail, ok } from '../../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import { agentContract, fromServiceError } from '../../../../../src/common/wire/index.ts';
import { localApi, localApiLimits } from '../../../../../sidecar/apis/local/index.ts';
import { silentMetrics, startLocalServer } from '../../../../../sidecar/local-server/index.ts';
import type { FileTargets, TargetStatus } from '../../../../../sidecar/ports/file-targets.ts';
import { startHarness } from '../../local-server/support.ts';

const web: TargetStatus = {
  name: 'web',
  driver: 'nginx',
  state: 'staged',
  reason: '',
  next: 'meshca set promote web',
  spiffeId: 'spiffe://td.test/web',
  since: 1_800_000_000,
  sets: [
    { name: '1-0a', serial: '0a', notBefore: 1, notAfter: 2, current: true },
    { name: '2-0b', serial: '0b', notBefore: 3, notAfter: 4, current: false },
  ],
  rollout: { group: 'edge', canaryShare: 0.1, observeSeconds: 60 },
  waitsFor: 'turn',
  directory: '/etc/web/tls',
  history: [{ at: 5, set: '2-0b', state: 'staged', note: 'waits for a hand' }],
};

/** As it goes over the wire. */
const { rollout: _, ...rest } = web;
const shown = { ...rest, rolloutGroup: 'edge' };

const targets: FileTargets = {
  list: () => [web],
  stage: async () => ok(web),
  promote: async () => ok({ ...web, state: 'proven' }),
  grantTurn: async () => ok(web),
  rollback: async () => fail('CONFLICT', 'there is no set before'),
  onChange: () => () => {},
};

test('operators of the node list its file targets and act on them by name', async () => {
  await using harness = await startHarness();
  const path = join(harness.folder, 'local.sock');
  const { attestor, entries, refusals } = harness;
  const api = await startLocalServer({
    ...harness.serverParts,
    socket: { path, mode: 0o600 },
    apis: [
      localApi({
        allowedUids: [],
        status: () => ({}),
        standing: () => ({ kind: 'not held' }),
        secretNames: () => [],
        attestor,
        entries,
        refusals,
        targets,
        clock: systemClock,
      }),
    ],
    metrics: silentMetrics,
    limits: localApiLimits,
  });
  const client = new (agentContract().packages.meshca.agent.v1.AgentLocal)(
    `unix:${path}`,
    credentials.createInsecure(),
  );
  const call = (method: string, name: string): Promise<unknown> =>
    promisify((client as never)[method] as never).call(client, { name }) as Promise<unknown>;
  const code = (wanted: string) => (thrown: ServiceError) =>
    fromServiceError(thrown).code === wanted;

  assert.deepEqual(await call('ListTargets', ''), { targets: [shown] });
  assert.deepEqual(await call('ListTargets', 'web'), { targets: [shown] });
  assert.deepEqual(await call('StageTarget', 'web'), shown);
  assert.deepEqual(await call('PromoteTarget', 'web'), { ...shown, state: 'proven' });
  await assert.rejects(call('RollbackTarget', 'web'), code('CONFLICT'));
  for (const method of ['ListTargets', 'StageTarget', 'PromoteTarget', 'RollbackTarget'])
    await assert.rejects(call(method, 'db'), code('TARGET_UNKNOWN'));
  client.close();
  await api.drain(50);
});
