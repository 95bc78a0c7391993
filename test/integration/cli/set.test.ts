import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { localApi, localApiLimits } from '../../../sidecar/apis/local/index.ts';
import { silentMetrics, startLocalServer } from '../../../sidecar/local-server/index.ts';
import type { CliContext } from '../../../src/cli/context.ts';
import { runCli } from '../../../src/cli/program.ts';
import { systemClock } from '../../../src/common/runtime/index.ts';
import { testContext } from '../../support/command.ts';
import { FakeFileTargets } from '../../support/fake-file-targets.ts';
import { noForeignBundles } from '../../support/local-server-fakes.ts';
import { SimAgent, simServer } from '../../support/sim-agent.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';
import { startHarness } from '../sidecar/local-server/support.ts';

let server: TestServer;
const stack = new AsyncDisposableStack();
before(async () => {
  server = stack.use(await startTestServer());
});
after(() => stack.disposeAsync());

const narrow = { isTerminal: true, columns: 80, color: false };
async function run(words: readonly string[], given: Partial<CliContext> = {}) {
  const { context, seen } = testContext(given);
  const code = await runCli(
    ['--server-socket', server.server.adminSocketPath, 'set', ...words],
    context,
  );
  return { code, ...seen };
}

/** The local API of an agent, with these targets. */
async function node(targets: FakeFileTargets): Promise<string> {
  const harness = stack.use(await startHarness());
  const path = join(harness.folder, 'local.sock');
  const { attestor, entries, refusals } = harness;
  const api = await startLocalServer({
    ...harness.serverParts,
    socket: { path, mode: 0o600 },
    apis: [
      localApi({
        foreign: noForeignBundles,
        ...{ allowedUids: [], status: () => ({}), standing: () => ({ kind: 'not held' }) },
        ...{ secretNames: () => [], attestor, entries, refusals, targets, clock: systemClock },
      }),
    ],
    metrics: silentMetrics,
    limits: localApiLimits,
  });
  stack.defer(async () => {
    await api.drain(50);
  });
  return path;
}

test('on its own node the sets of an agent are listed, staged, promoted and rolled back', async () => {
  const targets = new FakeFileTargets();
  targets.add('web', { group: 'edge', canaryShare: 0.1, observeSeconds: 60 });
  targets.add('db', undefined, 'hand');
  const path = await node(targets);
  const env = { MESHCA_LOCAL_SOCKET: path };
  const local = (...words: readonly string[]) => run([...words, '--local'], { env });

  assert.match((await local('list')).out, /^TARGET +STATE[^]*web +proven[^]*db +proven/);
  assert.doesNotMatch((await local('list', '--group', 'edge')).out, /db/);
  const staged = await local('stage', 'db');
  assert.equal(staged.out, 'db: staged, serves set 1 (a001); set 2 is staged\n');
  assert.match((await local('list')).out, /db: the staged set waits for a hand/);
  assert.equal((await local('promote', 'db')).out, 'db: proven, serves set 2 (a002)\n');
  const shown = await local('show', 'db');
  assert.match(shown.out, /directory +\/etc\/tls\/db[^]*2 +a002 +yes/);
  assert.match((await local('rollback', 'db')).out, /^db: rolled-back, serves set 1 \(a001\)\n$/);
  const asJson = JSON.parse((await local('show', 'db', '--json')).out) as {
    readonly state: string;
  };
  assert.equal(asJson.state, 'rolled-back');

  targets.bad.add('db');
  await local('stage', 'db');
  const wentBack = await local('promote', 'db');
  assert.equal(wentBack.code, 1);
  assert.match(wentBack.out, /^db: rolled-back, serves set \d+ \(.*\)\n {2}PROOF_MISSING: the old/);

  const refused = await local('rollback', 'web');
  assert.deepEqual([refused.code, /error CONFLICT/.test(refused.err)], [6, true]);
  const unknown = await local('promote', 'mail');
  assert.equal(unknown.code, 3);
  assert.match(unknown.err, /error TARGET_UNKNOWN[^]*next: Its targets are web, db/);
  for (const words of [
    ['promote'],
    ['promote', '--group', 'edge'],
    ['promote', 'a', '--group', 'b'],
  ])
    assert.equal((await local(...words)).code, 2, words.join(' '));
});

test('tables fit 80 columns, and a target of several agents is not guessed', async () => {
  const agents = [];
  for (const name of ['frontend-of-the-shop-1', 'frontend-of-the-shop-2']) {
    const agent = stack.use(await SimAgent.join(simServer(server), name));
    const serial = '0123456789abcdef0123456789abcdef';
    agent.targets.nextSerial = () => serial;
    agent.targets.add('web-of-the-frontend', {
      ...{ group: 'frontend-of-the-shop', canaryShare: 0.1, observeSeconds: 3600 },
    });
    agents.push(agent);
  }
  const reported = async (): Promise<number> =>
    (await server.admin('Targets/ListTargets')).targets.length;
  await until(async () => (await reported()) === 2, 'both have reported');
  const lines = async (...words: readonly string[]) =>
    (await run(words, { terminal: narrow })).out
      .split('\n')
      .filter((line) => !/^\S+ on /.test(line));
  for (const words of [['list'], ['show', 'web-of-the-frontend', '--agent', agents[0]?.name ?? '']])
    for (const line of await lines(...words)) assert.ok(line.length <= 80, line);
  const which = await run(['promote', 'web-of-the-frontend']);
  assert.equal(which.code, 2);
  assert.match(which.err, /2 agents have a target[^]*next: Name the agent with --agent/);
  const named = await run(['list', '--agent', 'frontend-of-the-shop-2', '--json']);
  assert.equal((JSON.parse(named.out) as { targets: readonly object[] }).targets.length, 1);
  const nobody = await run(['show', 'web-of-the-frontend', '--agent', 'shop-2']);
  assert.deepEqual([nobody.code, /TARGET_UNKNOWN/.test(nobody.err)], [3, true]);
});

test('Ctrl-C ends the waiting at once, and says what may still happen', async () => {
  const targets = new FakeFileTargets();
  targets.add('web', undefined, 'hand');
  const path = await node(targets);
  const agent = stack.use(await SimAgent.join(simServer(server), 'slow'));
  agent.targets.add('web', undefined, 'hand');
  await until(
    async () => (await server.admin('Targets/ListTargets', { target: 'web' })).targets.length === 1,
    'it is told',
  );
  const gate = Promise.withResolvers<void>();
  for (const [fake, words, next] of [
    [targets, ['promote', 'web', '--local', '--socket', path], /next: See meshca set list --local/],
    [agent.targets, ['promote', 'web'], /next: See meshca set list for/],
  ] as const) {
    fake.gate = gate.promise;
    const stop = new AbortController();
    const ended = run(words, { signal: stop.signal });
    await until(() => fake.asked.includes('promote web'), 'it waits for the delivery');
    stop.abort();
    const { code, err } = await ended;
    assert.equal(code, 130);
    assert.match(err, next);
  }
  gate.resolve();
});
