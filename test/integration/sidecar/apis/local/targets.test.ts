import assert from 'node:assert/strict';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { runCli } from '../../../../../src/cli/program.ts';
import { fail, ok } from '../../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import { agentContract, fromServiceError } from '../../../../../src/common/wire/index.ts';
import type { Explanation__Output } from '../../../../../src/common/wire/generated/meshca/agent/v1/Explanation.ts';
import { localApi, localApiLimits } from '../../../../../sidecar/apis/local/index.ts';
import { silentMetrics, startLocalServer } from '../../../../../sidecar/local-server/index.ts';
import type { FileTargets, TargetStatus } from '../../../../../sidecar/ports/file-targets.ts';
import { testContext } from '../../../../support/command.ts';
import { entryOf, noForeignBundles } from '../../../../support/local-server-fakes.ts';
import { startHarness, type Harness } from '../../local-server/support.ts';

const web: TargetStatus = {
  name: 'web',
  driver: 'nginx',
  state: 'staged',
  reason: '',
  next: 'meshca set promote web',
  spiffeId: 'spiffe://td.test/web',
  names: [],
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

async function startLocal(harness: Harness) {
  const path = join(harness.folder, 'local.sock');
  const { attestor, entries, refusals } = harness;
  const api = await startLocalServer({
    ...harness.serverParts,
    socket: { path, mode: 0o600 },
    apis: [
      localApi({
        foreign: noForeignBundles,
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
  return {
    path,
    call: (method: string, request: object): Promise<unknown> =>
      promisify((client as never)[method] as never).call(client, request) as Promise<unknown>,
    async [Symbol.asyncDispose]() {
      client.close();
      await api.drain(50);
    },
  };
}

const code = (wanted: string) => (thrown: ServiceError) => fromServiceError(thrown).code === wanted;

test('operators of the node list its file targets and act on them by name', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  const call = (method: string, name: string): Promise<unknown> => local.call(method, { name });
  assert.deepEqual(await call('ListTargets', ''), { targets: [shown] });
  assert.deepEqual(await call('ListTargets', 'web'), { targets: [shown] });
  assert.deepEqual(await call('StageTarget', 'web'), shown);
  assert.deepEqual(await call('PromoteTarget', 'web'), { ...shown, state: 'proven' });
  await assert.rejects(call('RollbackTarget', 'web'), code('CONFLICT'));
  for (const method of ['ListTargets', 'StageTarget', 'PromoteTarget', 'RollbackTarget'])
    await assert.rejects(call(method, 'db'), code('TARGET_UNKNOWN'));
});

test('explain tells which entry gives a file target its identity, or which one nearly does', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  const explain = (targetName: string): Promise<Explanation__Output> =>
    local.call('Explain', { targetName }) as Promise<Explanation__Output>;
  harness.entries.set(entryOf('near', 'spiffe://td.test/web', ['target:name:web', 'unix:uid:0']));
  const missed = await explain('web');
  assert.deepEqual(
    [missed.granted, missed.code, missed.pid, missed.selectors],
    [false, 'NO_IDENTITY', 0, ['target:name:web']],
  );
  assert.deepEqual(missed.nearMisses[0]?.missed, ['unix:uid:0']);
  harness.entries.set(entryOf('one', 'spiffe://td.test/web', ['target:name:web']));
  const granted = await explain('web');
  assert.deepEqual(
    [granted.granted, granted.code, granted.grantedSpiffeIds],
    [true, '', ['spiffe://td.test/web']],
  );
  assert.deepEqual(granted.fileTarget, shown);
  await assert.rejects(explain('db'), code('TARGET_UNKNOWN'));

  const { context, seen } = testContext({
    terminal: { isTerminal: false, columns: 80, color: false },
  });
  assert.equal(await runCli(['explain', '--target', 'web', '--socket', local.path], context), 0);
  assert.match(seen.out, /file target +web\n/);
  assert.match(seen.out, /next +meshca set promote web\n/);
  assert.match(seen.out, /waits for a hand/);
  assert.ok(
    seen.out.split('\n').every((line) => line.length <= 80),
    seen.out,
  );
});
