import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Logger } from '../../../src/common/runtime/index.ts';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { checkpointSync } from '../../support/checkpoint-sync.ts';
import { runCommand } from '../../support/command.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { logSettled } from '../../support/settled.ts';
import { until } from '../../support/until.ts';

const sizeOf = (note: string | undefined): number => Number(note?.split('\n')[1] ?? 0);

async function unprovenMetric({ server }: TestServer): Promise<string | undefined> {
  const text = await (await fetch(`http://127.0.0.1:${server.opsPort}/metrics`)).text();
  return /^meshca_audit_unproven_since_start ([0-9]+)$/m.exec(text)?.[1];
}

test('a start is unproven until an agent has shown a checkpoint from before it', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  const fresh = await server.admin('Server/GetStatus');
  assert.deepEqual([fresh.recordsAtStart, fresh.recordsProven, fresh.provenBy], [0, 0, '']);
  assert.equal(await unprovenMetric(server), '0', 'a log that began with this start has no past');
  const settled = await logSettled(server);
  const before = checkpointSync(server, agent);
  await until(() => sizeOf(before.notes.at(-1)) >= settled, 'the newest checkpoint comes down');
  const held = before.notes.at(-1) as string;
  before.close();

  await server.restart();
  const started = await server.admin('Server/GetStatus');
  assert.ok(started.recordsAtStart >= sizeOf(held));
  assert.equal(started.provenBy, '');
  const said = async (): Promise<string> => (await runCommand(server, ['status'])).out;
  assert.match(
    await said(),
    /database +unproven until an agent or witness has shown a checkpoint from before the start/,
  );
  assert.equal(await unprovenMetric(server), '1');

  // what this process has signed shows nothing of the time before it
  await server.admin('Tokens/CreateJoinToken', { agentName: 'node-2' });
  const now = await logSettled(server);
  const own = checkpointSync(server, agent);
  await until(() => sizeOf(own.notes.at(-1)) >= now, 'a checkpoint of this process comes down');
  const ofThisProcess = own.notes.at(-1) as string;
  own.close();
  const showing = checkpointSync(server, agent, ofThisProcess);
  await until(() => showing.welcomed());
  showing.close();
  assert.equal(await unprovenMetric(server), '1');

  const honest = checkpointSync(server, agent, held);
  await until(() => honest.welcomed());
  honest.close();
  const proven = await server.admin('Server/GetStatus');
  assert.deepEqual([proven.recordsProven, proven.provenBy], [sizeOf(held), agent.spiffeId]);
  assert.match(
    await said(),
    new RegExp(`database +${sizeOf(held)} of .* proven by ${agent.spiffeId}`),
  );
  assert.equal(await unprovenMetric(server), '0');
});

test('a checkpoint file beside the database is warned of at the start', async () => {
  const warnings: unknown[] = [];
  const logger: Logger = {
    ...silentLogger,
    child: () => logger,
    warn: (fields, message) => {
      if (message?.includes('beside the database') === true)
        warnings.push((fields as { readonly path: string }).path);
    },
  };
  await using beside = await startTestServer({ logger });
  assert.deepEqual(warnings, [join(beside.dir, 'data', 'checkpoints.log')]);
  await beside.stop();
  await using elsewhere = await startTestServer({
    logger,
    dir: beside.dir,
    tokens: beside.tokens,
    config: { audit: { checkpointFile: join(beside.dir, 'elsewhere', 'checkpoints.log') } },
  });
  assert.equal(warnings.length, 1, elsewhere.dir);
});
