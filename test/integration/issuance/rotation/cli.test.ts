import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCli } from '../../../../src/cli/program.ts';
import type { CliContext } from '../../../../src/cli/context.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';
import { until } from '../../../support/until.ts';

const config = {
  issuance: {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: 4,
    maximumTtlSeconds: 60,
    agentTtlSeconds: 60,
    serverTtlSeconds: 60,
    jwtMaximumTtlSeconds: 60,
    jwtDefaultTtlSeconds: 30,
    bundleRefreshHintSeconds: 1,
  },
  rotation: { marginSeconds: 60, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};

function cli(
  server: TestServer,
  options: { readonly isTerminal?: boolean; readonly signal?: AbortSignal } = {},
) {
  let out = '';
  let err = '';
  const context: CliContext = {
    env: {},
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    readStdin: async () => '',
    ask: async () => undefined,
    terminal: { isTerminal: options.isTerminal ?? false, columns: 140, color: false },
    signal: options.signal ?? new AbortController().signal,
    now: () => Math.floor(Date.now() / 1000),
    dependencies: {} as CliContext['dependencies'],
  };
  const run = async (...args: readonly string[]): Promise<number> =>
    runCli(['--server-socket', server.server.adminSocketPath, ...args], context);
  return { run, out: () => out, err: () => err };
}

test('on the command line a chain is rotated with progress, step by step, piped and on a terminal', async (context) => {
  const server = await startTestServer({ config });
  context.after(() => server[Symbol.asyncDispose]());
  const agent = await SimAgent.join(simServer(server), 'node-1', ['web']);

  const piped = cli(server);
  assert.equal(
    await piped.run(
      'authority',
      'rotate',
      '--kind',
      'issuing',
      '--kind',
      'root',
      '--reason',
      'exercise',
    ),
    0,
  );
  assert.match(piped.out(), /issuing [0-9a-f]{12} active/);
  assert.match(piped.out(), /root [0-9a-f]{12} published proven \d\/2/);
  assert.ok(!piped.out().includes('\u001b['));

  const json = cli(server);
  assert.equal(await json.run('authority', 'status', '--json'), 0);
  const status = JSON.parse(json.out());
  assert.equal(
    status.authorities.filter(
      (each: { authority: { kind: string } }) => each.authority.kind === 'root',
    ).length,
    2,
  );

  const picture = cli(server, { isTerminal: true });
  assert.equal(await picture.run('authority', 'status'), 0);
  assert.match(picture.out(), /└─ issuing/);
  assert.match(picture.out(), /retires when its last leaf has expired/);

  // to be stopped is how it ends
  const stopWatching = new AbortController();
  const watching = cli(server, { signal: stopWatching.signal });
  const watched = watching.run('authority', 'status', '--watch');
  await until(() => watching.out() !== '', 'it watches');
  stopWatching.abort();
  assert.equal(await watched, 130);
  assert.equal(watching.err(), '');

  // a workload that does not read: the command waits and names it; stopped, the server goes on by
  // itself
  agent.freeze('web');
  const stop = new AbortController();
  const waiting = cli(server, { signal: stop.signal });
  const run = waiting.run('authority', 'rotate', '--kind', 'root');
  await until(
    () => waiting.out().includes('waits for node-1: spiffe://mesh.test/web web'),
    'the command names who lags',
  );
  assert.match(waiting.out(), /waits for node-1: spiffe:\/\/mesh.test\/web web/);
  stop.abort();
  assert.notEqual(await run, 0);
  assert.match(waiting.err(), /CANCELLED/);
  agent.thaw('web');
  const resumed = cli(server);
  assert.equal(await resumed.run('authority', 'activate', '--kind', 'root'), 0);

  const prepared = cli(server);
  assert.equal(await prepared.run('authority', 'prepare', '--kind', 'jwt'), 0);
  assert.equal(await prepared.run('authority', 'publish', '--kind', 'jwt'), 0);
  assert.equal(await prepared.run('authority', 'activate', '--kind', 'jwt'), 0);
  // it signs a moment before its operation is closed
  await until(
    async () => (await server.admin('Authorities/GetRotationStatus')).operations.length === 0,
    'nothing is under way',
  );
  const refused = cli(server);
  assert.equal(await refused.run('authority', 'publish', '--kind', 'jwt'), 3);
});
