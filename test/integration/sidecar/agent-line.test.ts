import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { certificatesToPem } from '../../../src/common/x509/index.ts';
import { defer } from '../../support/agent-fake-server.ts';
import { agentSeat, nodeCertificate, type AgentSeat } from '../../support/agent-seat.ts';
import { nodeCrl } from '../../support/node-crl.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { tcpGate } from '../../support/tcp-gate.ts';
import { createRoot, type TestAuthority } from '../../support/test-pki.ts';
import { until } from '../../support/until.ts';

describe('the line of SVIDs of agents', () => {
  let directory: string;
  let server: TestServer;
  let nodes: TestAuthority;
  let crlFile: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'meshca-line-'));
    nodes = createRoot('nodes.test');
    const caFile = join(directory, 'nodes.pem');
    await writeFile(caFile, certificatesToPem([nodes.certificateDer]));
    crlFile = join(directory, 'nodes.crl');
    await writeFile(crlFile, nodeCrl(nodes, []));
    server = await startTestServer({
      config: {
        listen: { port: await freePort() },
        issuance: { minimumTtlSeconds: 2, agentTtlSeconds: 6 },
        attestation: { x509pop: { caFile, crlFile } },
      },
    });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const joinToken = async (agentName: string) => {
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName });
    return { agentId, attestation: { joinToken: { token } } };
  };

  async function seatFor(
    context: TestContext,
    attestation: object,
    options: Parameters<typeof agentSeat>[2] = {},
  ): Promise<AgentSeat> {
    const seat = await agentSeat(server, attestation, options);
    defer(context, () => seat[Symbol.asyncDispose]());
    return seat;
  }

  const records = async (subject: string, kind: string) =>
    (await server.admin('Audit/ListAuditRecords', { subject, kind, newestFirst: true })).records;
  const count = async (subject: string, kind: string): Promise<number> =>
    (await records(subject, kind)).length;

  async function renewals(agentId: string, more: number): Promise<void> {
    const from = await count(agentId, 'agent.first-use');
    await until(
      async () => (await count(agentId, 'agent.first-use')) >= from + more,
      `${more} renewals of ${agentId}`,
    );
  }

  const refusals = (agentId: string): Promise<number> => count(agentId, 'request.refused');

  const doubleOf = async (spiffeId: string) => {
    const { agent } = await server.admin('Agents/GetAgent', { spiffeId });
    return agent?.doubled ?? undefined;
  };

  describe('each agent alone', { concurrency: true }, () => {
    test('an agent whose answer got lost, off until expiry, comes back with what is on its disk', async (context) => {
      const { agentId, attestation } = await joinToken('lost-answer');
      const gate = await tcpGate(() => server.server.port);
      defer(context, () => gate[Symbol.asyncDispose]());
      const seat = await seatFor(context, attestation, { address: gate.address });
      await seat.start();
      await seat.connected();
      await renewals(agentId, 1);
      gate.loseAnswers();
      const renewed = await count(agentId, 'agent.renewed');
      await until(
        async () => (await count(agentId, 'agent.renewed')) > renewed,
        'a renewal whose answer is lost',
      );
      const ends = seat.agent.status().svidNotAfter as number;
      await seat.stop();
      await until(() => Date.now() / 1000 > ends + 1, 'the SVID on the disk has ended');
      gate.open();
      await seat.start();
      await seat.connected();
      await renewals(agentId, 1);
      assert.equal(await count(agentId, 'agent.attested'), 1, 'its token was not needed again');
    });

    test('an agent that crashed after it saved a renewal and before its use goes on with it', async (context) => {
      const { agentId, attestation } = await joinToken('crash-saved');
      const gate = await tcpGate(() => server.server.port);
      defer(context, () => gate[Symbol.asyncDispose]());
      const seat = await seatFor(context, attestation, { address: gate.address });
      await seat.start();
      await seat.connected();
      const before = await seat.keptSerial();
      gate.refuseNew();
      await until(async () => (await seat.keptSerial()) !== before, 'a renewal on the disk');
      await seat.stop();
      gate.open();
      await seat.start();
      await renewals(agentId, 1);
      assert.equal(await count(agentId, 'agent.attested'), 1);
      assert.equal(await refusals(agentId), 0);
    });

    test('an agent that renewed in memory alone recovers by its stored SVID, and alerts', async (context) => {
      const { agentId, attestation } = await joinToken('unsaved');
      const seat = await seatFor(context, attestation);
      await seat.start();
      await seat.connected();
      await rename(seat.dataDir, `${seat.dataDir}-away`);
      await writeFile(seat.dataDir, '');
      await renewals(agentId, 2);
      await seat.stop();
      await rm(seat.dataDir);
      await rename(`${seat.dataDir}-away`, seat.dataDir);
      await seat.start();
      await seat.connected();
      assert.equal(await count(agentId, 'agent.attested'), 1);
      const [recovery] = await records(agentId, 'agent.recovered');
      assert.match(recovery?.canonical.toString() ?? '', /"endedInUse":"[0-9a-f]+"/);
      assert.ok((await count(agentId, 'agent.doubled')) > 0);
      assert.equal((await doubleOf(agentId))?.how, 'older-certificate');
    });

    test('an agent whose directory was put back behind what was kept needs a token, and says so', async (context) => {
      const { agentId, attestation } = await joinToken('put-back');
      const seat = await seatFor(context, attestation);
      await seat.start();
      await seat.connected();
      const old = await seat.copy();
      await renewals(agentId, 2);
      await seat.stop();
      await seat.putBack(old);
      await seat.start();
      await seat.superseded();
      assert.equal(await count(agentId, 'agent.recovered'), 0);
      // the advice: evict, and give it a new token
      await server.admin('Agents/EvictAgent', { spiffeId: agentId, reason: 'a snapshot' });
      const again = await joinToken('put-back');
      await seat.stop();
      const fresh = await seatFor(context, again.attestation, { dataFrom: old });
      await fresh.start();
      await fresh.connected();
    });

    test('of two clones one stays; an eviction ends a thief who was first', async (context) => {
      const { agentId, attestation } = await joinToken('clones');
      const honest = await seatFor(context, attestation);
      await honest.start();
      await honest.connected();
      await honest.stop();
      const thief = await seatFor(context, attestation, { dataFrom: await honest.copy() });
      await thief.start();
      await renewals(agentId, 2);
      await honest.start();
      await honest.superseded();
      const sessions = await count(agentId, 'agent.recovered');
      await renewals(agentId, 2);
      assert.equal(await count(agentId, 'agent.recovered'), sessions, 'they take no turns');
      await server.admin('Agents/EvictAgent', { spiffeId: agentId, reason: 'stolen' });
      const token = await joinToken('clones');
      const rightful = await seatFor(context, token.attestation, {
        dataFrom: await honest.copy(),
      });
      await honest.stop();
      await rightful.start();
      await rightful.connected();
      await until(() => thief.agent.status().connected === false, 'the end of the thief');
      await renewals(agentId, 2);
      assert.equal(rightful.agent.status().connected, true);
    });

    test('a superseded agent with a node certificate attests once by itself', async (context) => {
      const { agentId, attestation } = await nodeCertificate(nodes, directory, 'pop');
      const one = await seatFor(context, attestation);
      await one.start();
      await one.connected();
      await one.stop();
      const other = await seatFor(context, attestation, { dataFrom: await one.copy() });
      await other.start();
      await renewals(agentId, 2);
      await one.start();
      await one.connected();
      await until(async () => (await count(agentId, 'agent.attested')) >= 2, 'the one attests');
      // the other is superseded by that, and attests once as well
      await until(async () => (await count(agentId, 'agent.attested')) >= 3, 'the other attests');
      assert.match(await one.superseded(), /has attested by itself once already/);
      await one.stop();
      await one.start();
      await one.superseded();
      await renewals(agentId, 2);
      assert.equal(await count(agentId, 'agent.attested'), 3, 'they take no turns');
      const alerts = (await records(agentId, 'agent.doubled')).map(({ canonical }) =>
        canonical.toString(),
      );
      assert.ok(alerts.some((alert) => alert.includes('"how":"second-key"')));
      assert.equal(other.agent.status().connected, true);
    });

    test('honest agents that renew again and again leave no refusal and no alert on record', async (context) => {
      const seats = await Promise.all(
        ['honest-1', 'honest-2'].map(async (name) => {
          const { agentId, attestation } = await joinToken(name);
          const seat = await seatFor(context, attestation);
          await seat.start();
          return { agentId, seat };
        }),
      );
      await Promise.all(seats.map(({ agentId }) => renewals(agentId, 3)));
      // a restart in between is nothing to tell either
      await seats[0]?.seat.stop();
      await seats[0]?.seat.start();
      await Promise.all(seats.map(({ agentId }) => renewals(agentId, 3)));
      for (const { agentId } of seats) {
        assert.equal(await refusals(agentId), 0);
        assert.equal(await count(agentId, 'agent.doubled'), 0);
        assert.equal(await doubleOf(agentId), undefined);
      }
    });
  });

  test('a node certificate that was revoked lets nobody in, and the standing of its agent is told', async (context) => {
    const { agentId, attestation, serialHex } = await nodeCertificate(nodes, directory, 'revoked');
    const seat = await seatFor(context, attestation);
    await seat.start();
    await seat.connected();
    const told = async (): Promise<string> => {
      const { agents } = await server.admin('Agents/ListAgents');
      return agents.find(({ spiffeId }) => spiffeId === agentId)?.evidenceRevoked ?? '';
    };
    assert.equal(await told(), '');
    await writeFile(crlFile, nodeCrl(nodes, [serialHex]));
    await until(async () => (await told()).includes('revoked'), 'the list tells of it');
    await server.restart();
    assert.match(await told(), /revoked/, 'a restart forgets nothing');
    // it stands, and renews, until an operator ends it
    await renewals(agentId, 2);
    const copy = await seatFor(context, attestation);
    await copy.start();
    const said = (each: AgentSeat): string => each.agent.status().lastError ?? '';
    await until(() => said(copy).startsWith('CERTIFICATE_REVOKED'), 'the refusal');
    assert.match(said(copy), /stands all the same, with an SVID until/);
    await server.admin('Agents/EvictAgent', { spiffeId: agentId, reason: 'its key was stolen' });
    await until(() => said(seat).startsWith('CERTIFICATE_REVOKED'), 'the refusal after eviction');
    await writeFile(crlFile, 'no CRL');
    await until(() => said(copy).startsWith('REVOCATION_UNKNOWN'), 'nobody is let in without CRL');
    await writeFile(crlFile, nodeCrl(nodes, []));
    const connected = (each: AgentSeat): boolean => each.agent.status().connected === true;
    await until(() => connected(seat) || connected(copy), 'the way in');
  });

  test('who uses and keeps what is known after a restart of the server', async (context) => {
    const { agentId, attestation } = await joinToken('restart');
    const seat = await seatFor(context, attestation);
    await seat.start();
    await seat.connected();
    const old = await seat.copy();
    await renewals(agentId, 2);
    await server.restart();
    await renewals(agentId, 1);
    await seat.stop();
    await seat.putBack(old);
    await seat.start();
    await seat.superseded();
    assert.equal(await count(agentId, 'agent.attested'), 1);
  });
});
