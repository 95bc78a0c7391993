import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { defer } from '../../support/agent-fake-server.ts';
import { agentSeat } from '../../support/agent-seat.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test('an agent with a lost or damaged bundle or checkpoint recovers by itself, and its return is on record', async (context) => {
  const server = await startTestServer();
  defer(context, () => server[Symbol.asyncDispose]());
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  const seat = await agentSeat(server, { joinToken: { token } });
  defer(context, () => seat[Symbol.asyncDispose]());
  const bundleFile = join(seat.dataDir, 'bundle.json');
  const checkpointFile = join(seat.dataDir, 'log-checkpoint');
  const told = async (): Promise<string> => {
    const { records } = await server.admin('Audit/ListAuditRecords', {
      subject: agentId,
      kind: 'agent.state-lost',
    });
    return records.map(({ canonical }) => canonical.toString()).join('\n');
  };
  const svid = async () =>
    JSON.parse(await seat.state('agent-svid.json')) as Record<string, unknown>;
  const returns = async (): Promise<void> => {
    await seat.start();
    await seat.connected();
    await until(
      async () => 'keys' in (JSON.parse(await seat.state('bundle.json')) as object),
      'the bundle on the disk',
    );
    assert.ok((seat.agent.status().bundleSequence as number) > 0);
    await seat.stop();
  };
  await returns();
  assert.equal(await told(), '');

  await writeFile(bundleFile, '{');
  await returns();
  await until(async () => (await told()).includes('bundle.json: damaged'), 'the first return');

  await rm(bundleFile);
  await writeFile(checkpointFile, 'no note', { mode: 0o600 });
  await returns();
  await until(async () => (await told()).includes('bundle.json: missing'), 'the second return');
  assert.ok((await told()).includes('log-checkpoint: damaged'));

  // as an earlier release wrote it: the fingerprint of the configuration brings it back
  const { bundle, ...before } = await svid();
  assert.equal(typeof bundle, 'string');
  await writeFile(join(seat.dataDir, 'agent-svid.json'), JSON.stringify(before));
  await rm(bundleFile);
  await returns();
  assert.equal(typeof (await svid())['bundle'], 'string');
});
