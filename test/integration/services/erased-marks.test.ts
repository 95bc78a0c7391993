import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { silentLogger, uuidv7, type Logger } from '../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import {
  attestByToken,
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';

/** Links between certificates and marks of use, set and erased by whoever writes to the database. */
let server: TestServer;
/** What was announced, as `kind id`. */
const alerts: string[] = [];
const logger: Logger = {
  ...silentLogger,
  error: (fields) => {
    const { code, kind, id } = fields as Record<string, unknown>;
    if (code === 'OBJECT_NOT_IN_LOG' && typeof kind === 'string')
      alerts.push(`${kind} ${String(id)}`);
  },
  child: () => logger,
};
before(async () => {
  server = await startTestServer({ logger });
});
after(() => server?.[Symbol.asyncDispose]());

const sql = (text: string, ...values: (string | Buffer | null)[]): void =>
  foreignSql(join(server.config.dataDir, 'meshca.db'), (database) => {
    assert.equal(database.prepare(text).run(...values).changes, 1, text);
  });
const bytes = (serial: string): Buffer => Buffer.from(serial, 'hex');

async function renew(as: Credential): Promise<Credential> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const { serial, chainDer, spiffeId } = await unaryCall(
    server.client(as),
    '/meshca.issuer.v1.AgentIssuer/RenewAgent',
    { requestId: uuidv7(), csrDer: createCsr(privateKey), agentVersion: 'test' },
  );
  return { serial, chainDer, spiffeId, privateKey };
}
/** An outsider learns nothing of it, the operators' log names the object. */
async function refusedAndAnnounced(act: Promise<unknown>, object: string): Promise<void> {
  alerts.length = 0;
  assert.equal(await codeOf(act), 'INTERNAL');
  assert.ok(alerts.includes(object), `${object} in ${alerts.join()}`);
}
const evict = (spiffeId: string) =>
  server.admin('Agents/EvictAgent', { spiffeId, reason: 'moved' });
const tokenFor = async (agentName: string) => server.admin('Tokens/CreateJoinToken', { agentName });
const joinWith = (token: string): Promise<Credential> => attestByToken(server.client(), token);

test('a stolen certificate of an earlier session does not come back by a link to the present one', async () => {
  const stolen = await server.joinAgent('robbed');
  await evict(stolen.spiffeId);
  const present = await server.joinAgent('robbed');
  assert.equal(await codeOf(renew(stolen)), 'AGENT_SUPERSEDED');
  sql(
    'UPDATE certificates SET replaced_by = ? WHERE serial = ?',
    bytes(present.serial),
    bytes(stolen.serial),
  );
  for (const restarted of [false, true]) {
    if (restarted) await server.restart();
    assert.equal(await codeOf(renew(stolen)), 'AGENT_SUPERSEDED');
  }
  // nor by the agent's line
  const renewed = await renew(present);
  sql(
    'UPDATE agent_lines SET svids = replace(svids, ?, ?) WHERE spiffe_id = ?',
    renewed.serial,
    stolen.serial,
    present.spiffeId,
  );
  for (const restarted of [false, true]) {
    if (restarted) await server.restart();
    await refusedAndAnnounced(renew(stolen), `agent-line ${stolen.spiffeId}`);
  }
  sql(
    'UPDATE agent_lines SET svids = replace(svids, ?, ?) WHERE spiffe_id = ?',
    stolen.serial,
    renewed.serial,
    present.spiffeId,
  );
  assert.equal((await renew(renewed)).spiffeId, present.spiffeId);
});

test('a certificate that was renewed keeps its rights though its link was taken away', async () => {
  const first = await server.joinAgent('renewed');
  const second = await renew(first);
  sql('UPDATE certificates SET replaced_by = NULL WHERE serial = ?', bytes(first.serial));
  await server.restart();
  // until one of its successors is used first, all of them count
  assert.equal((await renew(first)).spiffeId, first.spiffeId);
  assert.equal((await renew(second)).spiffeId, first.spiffeId);
});

const erased: readonly (readonly [what: string, set: string])[] = [
  ['key and result', 'bound_public_key_sha256 = NULL, result_serial = NULL'],
  ['every mark', 'bound_public_key_sha256 = NULL, used_at = NULL, result_serial = NULL'],
  ['the result', 'result_serial = NULL'],
];
for (const [what, set] of erased)
  test(`a used join token is good for no other key after a foreign hand erased ${what}`, async () => {
    const name = `erased-${what.replaceAll(' ', '-')}`;
    const { token, id } = await tokenFor(name);
    const agent = await joinWith(token);
    await evict(agent.spiffeId);
    assert.equal(await codeOf(joinWith(token)), 'JOIN_TOKEN_INVALID');
    sql(`UPDATE join_tokens SET ${set} WHERE id = ?`, id);
    for (const restarted of [false, true]) {
      if (restarted) await server.restart();
      await refusedAndAnnounced(joinWith(token), `join-token ${id}`);
      // nor the evicted agent again
      await refusedAndAnnounced(
        attestByToken(server.client(), token, { key: agent.privateKey }),
        `join-token ${id}`,
      );
    }
    assert.equal(
      (await server.admin('Agents/GetAgent', { spiffeId: agent.spiffeId })).agent?.state,
      'evicted',
    );
  });

test('un-banning makes good nothing that a foreign hand wrote, and a ban is always possible', async () => {
  const agent = await server.joinAgent('altered');
  sql(
    `UPDATE agents SET selectors = '[{"type":"node","value":"vault"}]' WHERE spiffe_id = ?`,
    agent.spiffeId,
  );
  assert.equal(await codeOf(evict(agent.spiffeId)), 'OBJECT_NOT_IN_LOG');
  await server.admin('Agents/BanAgent', { spiffeId: agent.spiffeId, reason: 'altered' });
  assert.equal(await codeOf(renew(agent)), 'AGENT_BANNED');
});
