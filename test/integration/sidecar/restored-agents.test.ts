import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test, type TestContext } from 'node:test';
import { defer } from '../../support/agent-fake-server.ts';
import { agentSeat, type AgentSeat } from '../../support/agent-seat.ts';
import { freePort } from '../../support/ports.ts';
import { backupOf, putBack } from '../../support/restore.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

interface Joined {
  readonly agentId: string;
  readonly seat: AgentSeat;
  readonly attestation: object;
}

describe('agents of a server whose database was restored from a backup', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await startTestServer({
      config: {
        listen: { port: await freePort() },
        issuance: { minimumTtlSeconds: 2, agentTtlSeconds: 6 },
      },
    });
  });
  afterEach(() => server[Symbol.asyncDispose]());

  const records = async (subject: string, kind: string) =>
    (await server.admin('Audit/ListAuditRecords', { subject, kind })).records.map(({ canonical }) =>
      canonical.toString(),
    );
  const count = async (subject: string, kind: string): Promise<number> =>
    (await records(subject, kind)).length;

  async function renewals(agentId: string, more: number): Promise<void> {
    const from = await count(agentId, 'agent.first-use');
    await until(
      async () => (await count(agentId, 'agent.first-use')) >= from + more,
      `${more} renewals of ${agentId}`,
    );
  }

  async function joined(context: TestContext, agentName: string): Promise<Joined> {
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName });
    const attestation = { joinToken: { token } };
    const seat = await seatOf(context, attestation);
    await seat.start();
    await seat.connected();
    await until(async () => (await count(agentId, 'agent.first-use')) > 0, 'its use is on record');
    return { agentId, seat, attestation };
  }

  async function seatOf(
    context: TestContext,
    attestation: object,
    options: Parameters<typeof agentSeat>[2] = {},
  ): Promise<AgentSeat> {
    const seat = await agentSeat(server, attestation, options);
    defer(context, () => seat[Symbol.asyncDispose]());
    return seat;
  }

  const copyOf = async (context: TestContext, { seat, attestation }: Joined): Promise<AgentSeat> =>
    seatOf(context, attestation, { dataFrom: await seat.copy() });

  const databasePath = (): string => join(server.dir, 'data', 'meshca.db');

  async function accept(): Promise<void> {
    const { stale, expected } = await server.admin('Server/ShowRestore');
    assert.equal(stale, true);
    await server.admin('Server/AcceptRestore', { size: expected });
  }

  async function restore(from: string): Promise<void> {
    await putBack(server, from);
    await server.restart();
    await accept();
  }

  test('come back by themselves with an SVID that the backup does not know, and raise no alert', async (context) => {
    const { agentId, seat } = await joined(context, 'n1');
    const from = await backupOf(server);
    await renewals(agentId, 2);
    await restore(from);
    await until(async () => (await count(agentId, 'agent.recovered')) > 0, 'its way back');
    await seat.connected();
    await renewals(agentId, 2);
    assert.equal(await count(agentId, 'agent.attested'), 1, 'no token was needed');
    const [recovery, ...more] = await records(agentId, 'agent.recovered');
    assert.match(recovery ?? '', /"lostByRestore":true/);
    assert.deepEqual(more, [], 'once');
    assert.equal(await count(agentId, 'agent.doubled'), 0);
    const { ready, reasons } = await server.admin('Server/GetStatus');
    assert.ok(ready, reasons.join());
  });

  test('show a server on a new machine that its database is older, and come back once that is accepted', async (context) => {
    const { agentId, seat } = await joined(context, 'n1');
    const from = await backupOf(server);
    const size = async (): Promise<number> =>
      Number((await seat.state('log-checkpoint').catch(() => '')).split('\n')[1] ?? 0);
    const before = await size();
    await renewals(agentId, 2);
    await until(async () => (await size()) > before, 'a checkpoint of after the backup');
    await putBack(server, from);
    await rm(`${databasePath()}.replaced`);
    await rm(join(server.dir, 'data', 'checkpoints.log'));
    await server.restart();
    await until(
      async () => (await server.admin('Server/ShowRestore')).stale,
      'the agent shows its checkpoint',
    );
    assert.equal(await count(agentId, 'agent.recovered'), 0);
    await accept();
    await seat.connected();
    await renewals(agentId, 1);
    assert.equal(await count(agentId, 'agent.recovered'), 1);
    assert.equal(await count(agentId, 'agent.attested'), 1);
  });

  test('of two with the same lost SVID the first stays, and the other never returns', async (context) => {
    const node = await joined(context, 'n1');
    const { agentId, seat } = node;
    const from = await backupOf(server);
    await renewals(agentId, 2);
    await seat.stop();
    const thief = await copyOf(context, node);
    await restore(from);
    await thief.start();
    await thief.connected();
    await renewals(agentId, 2);
    await seat.start();
    assert.match(await seat.superseded(), /AGENT_SUPERSEDED/);
    await renewals(agentId, 2);
    assert.equal(await count(agentId, 'agent.recovered'), 1, 'they take no turns');
    assert.ok((await count(agentId, 'agent.doubled')) > 0, 'an alert');
    assert.equal(thief.agent.status().connected, true);
  });

  test('with a lost SVID are refused where one from the same lost time was there first', async (context) => {
    const node = await joined(context, 'n1');
    const { agentId, seat } = node;
    const from = await backupOf(server);
    await renewals(agentId, 1);
    const thief = await copyOf(context, node);
    await renewals(agentId, 2);
    await seat.stop();
    await restore(from);
    await thief.start();
    await thief.connected();
    await renewals(agentId, 1);
    await seat.start();
    await seat.superseded();
    assert.equal(await count(agentId, 'agent.recovered'), 1);
    // the advice: an operator decides, and that ends the thief
    await server.admin('Agents/EvictAgent', { spiffeId: agentId, reason: 'stolen' });
    const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
    const rightful = await seatOf(context, { joinToken: { token } });
    await rightful.start();
    await rightful.connected();
    await until(() => thief.agent.status().connected === false, 'the end of the thief');
  });

  test('are back before a copy of what the backup knows, which is refused', async (context) => {
    const node = await joined(context, 'n1');
    const { agentId, seat } = node;
    const thief = await copyOf(context, node);
    const from = await backupOf(server);
    await renewals(agentId, 2);
    await restore(from);
    await until(async () => (await count(agentId, 'agent.recovered')) > 0, 'its way back');
    await renewals(agentId, 1);
    await thief.start();
    await thief.superseded();
    assert.equal(await count(agentId, 'agent.recovered'), 1);
    assert.equal(seat.agent.status().connected, true);
  });
});
