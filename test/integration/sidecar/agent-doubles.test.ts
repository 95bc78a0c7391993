import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defer } from '../../support/agent-fake-server.ts';
import { agentSeat, type AgentSeat } from '../../support/agent-seat.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test('two processes with one certificate raise an alert, and the one that an operator keeps goes on alone', async (context) => {
  // lives so long that nothing is renewed but by the decision
  const server = await startTestServer();
  defer(context, () => server[Symbol.asyncDispose]());
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  const attestation = { joinToken: { token } };
  const records = async (kind: string) =>
    (await server.admin('Audit/ListAuditRecords', { subject: agentId, kind })).records;
  const shown = async () => {
    const { agents } = await server.admin('Agents/ListAgents');
    return agents[0]?.doubled ?? undefined;
  };
  const one = await agentSeat(server, attestation);
  defer(context, () => one[Symbol.asyncDispose]());
  await one.start();
  await one.connected();
  const { serial } = JSON.parse(await one.state('agent-svid.json')) as { readonly serial: string };
  await until(async () => (await records('agent.first-use')).length > 0, 'its use is on record');
  const other = await agentSeat(server, attestation, { dataFrom: await one.copy() });
  defer(context, () => other[Symbol.asyncDispose]());
  await other.start();
  const said = (seat: AgentSeat): string => seat.agent.status().lastError ?? '';
  await until(() => said(other).startsWith('AGENT_DOUBLED'), 'the one that came later is refused');
  await one.connected();
  const alerts = (await records('agent.doubled')).map(({ canonical }) => canonical.toString());
  assert.ok(alerts.some((alert) => alert.includes('"how":"second-connection"')));

  const doubled = await shown();
  assert.equal(doubled?.how, 'second-connection');
  const instances = doubled.instances.filter(({ id }) => id !== '');
  assert.equal(instances.length, 2);
  const holder = instances.find(({ connected }) => connected);
  assert.ok(holder);
  await server.admin('Agents/KeepAgent', {
    spiffeId: agentId,
    instanceId: holder.id.slice(0, 12),
    reason: 'the other is a copy',
  });
  await until(async () => (await one.keptSerial()) !== serial, 'it renews at once');
  await until(
    async () => (await records('agent.first-use')).length > 1,
    'the use of the new one is on record',
  );
  assert.equal(await shown(), undefined, 'an operator has decided');
  const [chosen] = await records('agent.chosen');
  assert.ok(chosen?.canonical.toString().includes(`"instance":"${holder.id}"`));
  await other.stop();
  await other.start();
  await other.superseded();
  assert.equal(one.agent.status().connected, true);
});
