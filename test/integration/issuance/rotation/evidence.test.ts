import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { runCli } from '../../../../src/cli/program.ts';
import { eventually, quickLives, rotationOf } from '../../../support/mesh.ts';
import {
  codeOf,
  serverStreamCall,
  startTestServer,
  type TestServer,
} from '../../../support/server.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';

/** Nobody here renews: what they have outlives a test on the slowest machine. */
const lives = {
  ...quickLives,
  issuance: { ...quickLives.issuance, maximumTtlSeconds: 3_600, agentTtlSeconds: 3_600 },
};

function sql<T>(server: TestServer, act: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(join(server.dir, 'data', 'meshca.db'), {
    timeout: 10_000,
    enableForeignKeyConstraints: false,
  });
  try {
    return act(database);
  } finally {
    database.close();
  }
}

async function mesh(
  context: TestContext,
  count: number,
): Promise<{ readonly server: TestServer; readonly agents: readonly SimAgent[] }> {
  const server = await startTestServer({ config: lives });
  context.after(() => server[Symbol.asyncDispose]());
  const agents = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      SimAgent.join(simServer(server), `node-${index}`, ['web', 'db']),
    ),
  );
  context.after(() => Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]())));
  return { server, agents };
}

async function cli(
  server: TestServer,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let [out, err] = ['', ''];
  const code = await runCli(['--server-socket', server.server.adminSocketPath, ...args], {
    env: {},
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    readStdin: async () => '',
    ask: async () => undefined,
    terminal: { isTerminal: false, columns: 200, color: false },
    signal: new AbortController().signal,
    now: () => Math.floor(Date.now() / 1000),
    dependencies: {} as never,
  });
  return { code, out, err };
}

/** Looks of the server at an object of this kind that was not as it should be. */
async function noticed(server: TestServer, kind: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
  return Number(
    new RegExp(`^meshca_objects_not_in_log_total\\{kind="${kind}"\\} (\\d+)`, 'm').exec(
      text,
    )?.[1] ?? 0,
  );
}

const published = async (server: TestServer, kind: string) => {
  const shown = await rotationOf(server).inState(kind, 'published');
  return shown === undefined ? undefined : { ...shown, confirmation: shown.confirmation! };
};
const notes = async (server: TestServer): Promise<readonly string[]> =>
  (await rotationOf(server).status()).notes.map(({ code }) => code);

/** The root is out, and the workload `db` of the first node has not read it. */
async function waitingForOne({
  server,
  agents,
}: {
  readonly server: TestServer;
  readonly agents: readonly SimAgent[];
}): Promise<SimAgent> {
  const [lagging] = agents as [SimAgent];
  lagging.freeze('db');
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('all but one have confirmed', async () => {
    const found = (await published(server, 'root'))?.confirmation;
    return (
      found?.laggardsTotal === 1 &&
      found.provenNeeded === found.provenConfirmed + 1 &&
      found.unprovableUntil < Date.now() / 1000
    );
  });
  return lagging;
}

test('a confirmation that somebody writes into the database activates nothing, and is noticed', async (context) => {
  const world = await mesh(context, 2);
  const { server } = world;
  const before = await rotationOf(server).activeId('root');
  const lagging = await waitingForOne(world);
  // again and again: an agent that connects anew writes its rows over it
  const forge = (): void =>
    sql(server, (database) => {
      const { digest } = database
        .prepare(
          `SELECT authority_set_digest AS digest FROM consumers WHERE agent_id = ? AND kind = 'agent'`,
        )
        .get(lagging.credential.spiffeId) as { digest: string };
      database
        .prepare(
          `UPDATE consumers SET authority_set_digest = ?, state = 'confirmed' WHERE id = 'node-0-db'`,
        )
        .run(digest);
    });
  await eventually('the server has looked at it more than once', async () => {
    forge();
    return (await noticed(server, 'consumer')) >= 2;
  });
  const found = await published(server, 'root');
  assert.deepEqual(
    [found!.confirmation!.laggardsTotal, found!.confirmation!.laggards[0]!.description],
    [1, 'db'],
  );
  // nor is one less to wait for when the row is gone
  sql(server, (database) => database.exec(`DELETE FROM consumers WHERE id = 'node-0-db'`));
  assert.equal((await published(server, 'root'))!.confirmation.laggardsTotal, 1);
  assert.equal(await rotationOf(server).activeId('root'), before);
  lagging.thaw('db');
  await eventually(
    'the root signs',
    async () => (await rotationOf(server).activeId('root')) !== before,
  );
});

test('what was confirmed before a restart is asked for again, and rows written meanwhile count for nothing', async (context) => {
  const { server, agents } = await mesh(context, 1);
  const [away] = agents as [SimAgent];
  away.freeze();
  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing' });
  await eventually(
    'it is published',
    async () => (await published(server, 'issuing')) !== undefined,
  );
  const { id } = (await published(server, 'issuing'))!.authority;
  away.disconnect();
  // one set of intermediates that the agent could hold is the one with both of them
  const { authorities } = await rotationOf(server).status();
  const both = authorities
    .filter(({ authority }) => authority!.kind === 'issuing')
    .map(({ authority }) => createHash('sha256').update(authority!.certificateDer).digest());
  await server.stop();
  sql(server, (database) => {
    const digest = createHash('sha256')
      .update(Buffer.concat(both.sort(Buffer.compare)))
      .digest('hex');
    database.prepare(`UPDATE consumers SET issuer_set_digest = ?, state = 'confirmed'`).run(digest);
  });
  await server.restart();
  const found = (await rotationOf(server).byId(id)).confirmation;
  assert.deepEqual(
    [found!.provenConfirmed, found!.laggards.map(({ state }) => state)],
    [0, ['absent', 'absent', 'absent']],
  );
  await eventually('the server has looked', async () =>
    (await notes(server)).includes('WAITING_CONFIRMATION'),
  );
  assert.equal((await published(server, 'issuing'))!.authority.id, id);
  // it comes back, and tells what it holds: that is enough
  const back = new SimAgent(simServer(server), away.name, away.credential);
  context.after(() => back[Symbol.asyncDispose]());
  for (const name of ['web', 'db'])
    back.consumers.set(name, { rootsDer: server.rootsDer, frozen: false });
  back.connect();
  await eventually('it signs', async () => (await rotationOf(server).activeId('issuing')) === id);
});

test("a rotation waits for certificates of holders that can't report, even if the database lost them", async (context) => {
  const { server } = await mesh(context, 1);
  const before = await rotationOf(server).activeId('root');
  const minted = await server.mint('spiffe://mesh.test/batch', { ttlSeconds: 3_600 });
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('everybody but that one holds it', async () => {
    const found = (await published(server, 'root'))?.confirmation;
    return found?.laggardsTotal === 0 && found.unprovableUntil < Date.now() / 1000;
  });
  sql(server, (database) =>
    database
      .prepare('DELETE FROM certificates WHERE serial = ?')
      .run(Buffer.from(minted.serial, 'hex')),
  );
  const { confirmation, authority } = (await published(server, 'root'))!;
  assert.deepEqual(
    [
      confirmation.inferredNeeded - confirmation.inferredConfirmed,
      confirmation.inferredUntil > Date.now() / 1000 + 5,
    ],
    [1, true],
  );
  await server.restart();
  await eventually('the server has looked', async () =>
    (await notes(server)).includes('WAITING_CONFIRMATION'),
  );
  assert.equal(await rotationOf(server).activeId('root'), before);
  assert.equal((await rotationOf(server).byId(authority.id)).confirmation?.inferredConfirmed, 0);
});

test('an agent that is taken out of the database, or banned there, is not one less to wait for', async (context) => {
  const { server, agents } = await mesh(context, 2);
  const [lagging] = agents as [SimAgent];
  const before = await rotationOf(server).activeId('issuing');
  lagging.freeze();
  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing' });
  await eventually(
    'all but one have confirmed',
    async () => (await published(server, 'issuing'))?.confirmation?.laggardsTotal === 1,
  );
  const row = sql(server, (database) =>
    database.prepare('SELECT * FROM agents WHERE spiffe_id = ?').get(lagging.credential.spiffeId),
  ) as Record<string, string | number | Uint8Array>;
  const put = (changes: Record<string, string>): void =>
    sql(server, (database) => {
      const whole = { ...row, ...changes };
      database
        .prepare(
          `INSERT OR REPLACE INTO agents (${Object.keys(whole).join(', ')}) VALUES (${Object.keys(
            whole,
          )
            .map(() => '?')
            .join(', ')})`,
        )
        .run(...Object.values(whole));
    });
  sql(server, (database) =>
    database.prepare('DELETE FROM agents WHERE spiffe_id = ?').run(lagging.credential.spiffeId),
  );
  await eventually('it is told', async () => (await notes(server)).includes('AGENTS_ALTERED'));
  put({ state: 'banned' });
  await eventually('it is noticed', async () => (await noticed(server, 'agent')) >= 3);
  assert.ok((await notes(server)).includes('AGENTS_ALTERED'));
  assert.equal(await rotationOf(server).activeId('issuing'), before);
  put({});
  await eventually(
    'it is all right again',
    async () => !(await notes(server)).includes('AGENTS_ALTERED'),
  );
  lagging.thaw();
  await eventually(
    'it signs',
    async () => (await rotationOf(server).activeId('issuing')) !== before,
  );
});

const evidenceOf = async (server: TestServer, id: string): Promise<any> => {
  const { code, out, err } = await cli(server, '--json', 'authority', 'evidence', id);
  assert.equal(code, 0, err);
  return JSON.parse(out);
};

test('readers see who had confirmed before an activation, and can verify it offline', async (context) => {
  const world = await mesh(context, 2);
  const { server, agents } = world;
  const lagging = await waitingForOne(world);
  await server.admin('Authorities/ContinueRotation', {
    kind: 'root',
    force: true,
    reason: 'the node is in repair',
  });
  const first = await rotationOf(server).active('issuing');
  let before = '';
  await eventually('the root signs', async () => {
    before = await rotationOf(server).activeId('root');
    return before !== first!.parentId;
  });
  const { statement, consumers, sequence } = await evidenceOf(server, before);
  assert.deepEqual(
    [statement.without.kind, statement.without.reason, statement.proven, statement.lines],
    [
      'forced',
      'the node is in repair',
      { needed: 6, confirmed: 5 },
      { proven: 5, passedOver: 1, expired: 0 },
    ],
  );
  const passedOver = consumers.find((line: any) => line.class === 'passed-over');
  assert.deepEqual(
    [passedOver.agent, passedOver.description, passedOver.why, passedOver.state],
    [lagging.credential.spiffeId, 'db', 'force', 'behind'],
  );
  assert.deepEqual(
    [
      ...new Set(
        consumers.filter((line: any) => line.class === 'proven').map(({ agent }: any) => agent),
      ),
    ].sort(),
    agents.map(({ credential }) => credential.spiffeId).sort(),
  );
  const { records } = await server.admin('Audit/ListAuditRecords', {
    subject: before,
    kind: 'authority.active',
    page: { size: 10 },
  });
  const { detail } = JSON.parse(records[0]!.canonical.toString().split('\n')[1]!);
  assert.deepEqual(
    [records[0]!.sequence, detail.provenNeeded, detail.provenConfirmed],
    [sequence, 6, 5],
  );
  const shown = await cli(server, 'authority', 'evidence', before);
  assert.match(shown.out, /passed over: force +node-0 +workload-stream .*db/);
  assert.match(shown.out, new RegExp(`record +${sequence} of the audit log`));
  // the intermediate of the first start has none
  assert.match((await cli(server, 'authority', 'evidence', first!.id)).err, /NOT_FOUND/);
  assert.match((await cli(server, 'authority', 'evidence', 'none')).err, /NOT_FOUND/);
  // an auditor reads it, one without a role does not
  const [auditor, nobody] = await Promise.all(
    ['auditor', 'nobody'].map((name) =>
      server.mint(`spiffe://mesh.test/admin/${name}`, { admin: true }),
    ),
  );
  await server.admin('Roles/PutRole', { role: { name: 'auditor', members: [auditor!.spiffeId] } });
  const reads = (credential: typeof auditor): Promise<string> =>
    codeOf(
      serverStreamCall(
        server.client(credential),
        '/meshca.admin.v1.Authorities/GetActivationEvidence',
        { id: before },
        () => {},
      ),
    );
  assert.deepEqual([await reads(auditor), await reads(nobody)], ['resolved', 'ROLE_MISSING']);
});

test('the server and the offline check refuse a changed or removed list, and name the record', async (context) => {
  const { server } = await mesh(context, 2);
  const before = await rotationOf(server).activeId('issuing');
  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing' });
  await eventually(
    'it signs',
    async () => (await rotationOf(server).activeId('issuing')) !== before,
  );
  const id = await rotationOf(server).activeId('issuing');
  const { sequence, sha256 } = await evidenceOf(server, id);
  const checkpoints = join(server.dir, 'data', 'checkpoints.log');
  await eventually(
    'it is under a checkpoint',
    () =>
      existsSync(checkpoints) &&
      readFileSync(checkpoints, 'utf8')
        .trimEnd()
        .split('\n')
        .some(
          (line) =>
            Number((JSON.parse(line) as { checkpoint: string }).checkpoint.split('\n')[1]) >=
            sequence,
        ),
  );
  const path = join(server.dir, 'export.jsonl');
  const verified = async (change: (text: string) => string = (text) => text) => {
    rmSync(path, { force: true });
    assert.equal((await cli(server, 'audit', 'export', '--out', path)).code, 0);
    const text = change(readFileSync(path, 'utf8'));
    writeFileSync(path, text);
    const { code, out, err } = await cli(server, '--json', 'audit', 'verify', path);
    return code === 0 ? JSON.parse(out) : JSON.parse(err).error;
  };
  const good = await verified();
  assert.equal(good.activations.withList, 1);
  assert.ok(good.activations.without >= 3, 'those of the first start');
  const bad = (found: any): void =>
    assert.deepEqual([found.code, found.sequence], ['EVIDENCE_INVALID', sequence]);
  // in the file alone
  bad(await verified((text) => text.replace('node-1-db', 'node-1-dx')));
  bad(
    await verified((text) =>
      text
        .split('\n')
        .filter((line) => !line.startsWith('{"type":"evidence-lines"'))
        .join('\n'),
    ),
  );
  bad(
    await verified((text) =>
      text
        .split('\n')
        .filter((line) => !line.startsWith('{"type":"evidence'))
        .join('\n'),
    ),
  );
  assert.equal(
    (await verified((text) => text.replace(/\{"type":"evidence".*\n/, (line) => `${line}${line}`)))
      .code,
    'EVIDENCE_INVALID',
  );
  // in the database
  const part = sql(server, (database) =>
    database.prepare('SELECT * FROM activation_evidence_parts WHERE sha256 = ?').get(sha256),
  ) as { position: number; deflated: Uint8Array };
  const rewrite = (data: Buffer): void =>
    sql(
      server,
      (database) =>
        void database
          .prepare('UPDATE activation_evidence_parts SET deflated = ? WHERE sha256 = ?')
          .run(data, sha256),
    );
  const text = inflateRawSync(part.deflated).toString('utf8');
  const refusal = async (): Promise<string> =>
    JSON.parse((await cli(server, '--json', 'authority', 'evidence', id)).err).error.code;
  for (const data of [
    deflateRawSync(Buffer.from(text.replaceAll('node-1-db', 'node-1-dx'))),
    deflateRawSync(Buffer.from(text.split('\n').slice(1).join('\n'))),
    Buffer.from('no deflate'),
    deflateRawSync(Buffer.alloc(64 * 1024 * 1024)),
  ]) {
    rewrite(data);
    assert.equal(await refusal(), 'EVIDENCE_INVALID');
    bad(await verified());
  }
  assert.ok((await noticed(server, 'activation-evidence')) >= 4);
  rewrite(Buffer.from(part.deflated));
  assert.equal((await verified()).activations.withList, 1);
  // a statement and a list of one's own, that agree with each other
  sql(server, (database) =>
    database
      .prepare('UPDATE activation_evidence SET statement = ? WHERE sha256 = ?')
      .run(Buffer.from('meshca-activation-v1\n{}'), sha256),
  );
  assert.equal(await refusal(), 'EVIDENCE_INVALID');
  bad(await verified());
  sql(server, (database) =>
    database.exec('DELETE FROM activation_evidence; DELETE FROM activation_evidence_parts'),
  );
  assert.equal(await refusal(), 'EVIDENCE_INVALID');
  bad(await verified());
});
