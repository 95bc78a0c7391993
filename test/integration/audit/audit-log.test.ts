import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { canonicalBytes, leafHash, logObjectDigest } from '../../../src/domain/index.ts';
import { longestWaitMs } from '../../../src/audit/sequencer.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import {
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { insertRow, readRow, type SqlRow } from '../../support/foreign-sql.ts';
import { until } from '../../support/until.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;
const databaseOf = (server: TestServer): string => join(server.dir, 'data', 'meshca.db');

const selectors = ['unix:uid:1000'];

/** Whoever can write to the file, while the server runs or not. */
function sql<T>(server: TestServer, work: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(databaseOf(server), { timeout: 5000 });
  try {
    return work(database);
  } finally {
    database.close();
  }
}

async function addEntry(
  server: TestServer,
  entryId: string,
  agent: Credential,
  changes: object = {},
): Promise<void> {
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      {
        id: entryId,
        spiffeId: id(`/${entryId}`),
        parentId: agent.spiffeId,
        selectors,
        ...changes,
      },
    ],
  });
  assert.equal(results[0]!.entry?.id, entryId, JSON.stringify(results[0]));
}

/** What the agent gets for an entry: `issued`, or the code of the refusal. */
async function signs(server: TestServer, agent: Credential, entryId: string): Promise<string> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    {
      items: [
        {
          requestId: uuidv7(),
          entryId,
          csrDer: createCsr(privateKey),
          selectors: [{ type: 'unix', value: 'uid:1000' }],
        },
      ],
    },
  );
  return results[0]!.svid ? 'issued' : results[0]!.refusal!.code;
}

const checkpointSizes = (server: TestServer): readonly number[] => {
  const path = join(server.dir, 'data', 'checkpoints.log');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Number((JSON.parse(line) as { checkpoint: string }).checkpoint.split('\n')[1]));
};

const startFails = async (server: TestServer): Promise<PkiError> =>
  server.restart().then(
    () => assert.fail('the server started'),
    (thrown: unknown) => PkiError.from(thrown),
  );

test('a checkpoint covers each record soon, also over a restart, and is copied out of the database', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await addEntry(server, 'web', agent);
  assert.equal(await signs(server, agent, 'web'), 'issued');
  const count = (): number =>
    sql(
      server,
      (database) =>
        (database.prepare('SELECT max(sequence) AS n FROM audit').get() as { n: number }).n,
    );
  const wanted = count();
  await until(() => checkpointSizes(server).some((size) => size >= wanted));
  // what a record waits for, at most; the rest is the work itself, however slow the machine
  assert.ok(longestWaitMs <= 1_000);
  await server.restart();
  assert.equal(await signs(server, agent, 'web'), 'issued');
  await server.stop();
  const sizes = checkpointSizes(server);
  assert.deepEqual(
    sizes,
    [...sizes].sort((a, b) => a - b),
  );
  assert.equal(sizes.at(-1), count(), 'a clean stop leaves nothing outside the tree');
  assert.equal(
    sql(
      server,
      (database) =>
        (database.prepare('SELECT count(*) AS n FROM log_excluded').get() as { n: number }).n,
    ),
    0,
  );
});

test('an entry written by SQL signs nothing, on a running server and after a restart', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await addEntry(server, 'web', agent);
  await addEntry(server, 'db', agent);
  await addEntry(server, 'gone', agent);
  const copy = (into: string) =>
    sql(server, (database) =>
      insertRow(database, 'entries', {
        ...readRow(database, 'entries', `id = 'db'`),
        id: into,
        spiffe_id: id('/admin'),
      }),
    );
  const before = sql(server, (database) => readRow(database, 'entries', `id = 'gone'`));
  await server.admin('Entries/DeleteEntries', { ids: ['gone'] });
  assert.equal(await signs(server, agent, 'web'), 'issued');
  copy('forged');
  sql(server, (database) =>
    database.exec(`UPDATE entries SET spiffe_id = '${id('/admin')}' WHERE id = 'web'`),
  );
  sql(server, (database) => insertRow(database, 'entries', before));
  const refused = async (when: string): Promise<void> => {
    for (const entry of ['forged', 'web', 'gone'])
      assert.equal(
        await signs(server, agent, entry),
        'INTERNAL',
        `${entry} ${when}: an outsider learns no more`,
      );
    assert.equal(await signs(server, agent, 'db'), 'issued', when);
  };
  await refused('while it runs');
  const records = await server.admin('Audit/ListAuditRecords', {
    kind: 'request.refused',
    page: { size: 100, token: '' },
  });
  const codes = records.records.map(
    (record: { canonical: Buffer }) =>
      (
        JSON.parse(record.canonical.toString().split('\n')[1] as string) as {
          detail: { code: string };
        }
      ).detail.code,
  );
  assert.equal(codes.filter((code: string) => code === 'OBJECT_NOT_IN_LOG').length, 3);
  await server.restart();
  await refused('after a restart');
  sql(server, (database) => database.exec(`DELETE FROM entries WHERE id = 'db'`));
  await server.admin('Entries/UpdateEntry', {
    entry: { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors },
  });
  const { results } = await server.admin('Entries/DeleteEntries', { ids: ['forged', 'gone'] });
  assert.ok(results.every(({ outcome }) => outcome === 'entry'));
  await addEntry(server, 'db', agent);
  for (const entry of ['web', 'db']) assert.equal(await signs(server, agent, entry), 'issued');
  for (const entry of ['forged', 'gone'])
    assert.equal(await signs(server, agent, entry), 'ENTRY_NOT_AUTHORIZED');
  await server.restart();
  assert.equal(await signs(server, agent, 'web'), 'issued');
});

test('who writes the audit row as well gets nothing: without a seal it stays out of the tree', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await addEntry(server, 'web', agent);
  await until(() => checkpointSizes(server).length > 0);
  /** The row and a perfect record of it. */
  const forge = (entryId: string): void =>
    sql(server, (database) => {
      const row = {
        ...readRow(database, 'entries', `id = 'web'`),
        id: entryId,
        spiffe_id: id('/admin'),
      } as SqlRow;
      insertRow(database, 'entries', row);
      const text = JSON.stringify(
        [
          'id',
          'spiffe_id',
          'is_template',
          'placeholders',
          'parent_id',
          'selectors',
          'x509_ttl_seconds',
          'jwt_ttl_seconds',
          'profile',
          'dns_names',
          'hint',
          'expires_at',
          'admin',
          'downstream',
          'allow_weak_selectors',
          'revision',
          'created_at',
          'updated_at',
          'created_by',
        ].map((column) => row[column]),
      );
      const canonical = canonicalBytes(
        { timeMs: Date.now(), actor: 'uid:0', kind: 'entry.created', subject: entryId, detail: {} },
        { kind: 'entry', id: entryId, sha256: logObjectDigest(text) },
      );
      const { n, high } = database
        .prepare('SELECT max(sequence) AS n, max(time_high_ms) AS high FROM audit')
        .get() as { n: number; high: number };
      database
        .prepare('INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
        .run(
          n + 1,
          Date.now(),
          high,
          'uid:0',
          'entry.created',
          entryId,
          canonical,
          leafHash(canonical),
        );
    });
  forge('running');
  assert.equal(await signs(server, agent, 'running'), 'INTERNAL');
  assert.equal(
    await signs(server, agent, 'web'),
    'issued',
    'the forged row is in the way of nobody',
  );
  await server.stop();
  forge('stopped');
  // a seal of one's own making, and one taken from elsewhere
  sql(server, (database) => {
    const { n } = database.prepare('SELECT max(sequence) AS n FROM audit').get() as { n: number };
    const session = (
      database.prepare('SELECT id FROM log_sessions LIMIT 1').get() as { id: string }
    ).id;
    database
      .prepare(
        'INSERT INTO log_seals (last_sequence, first_sequence, session_id, signature) VALUES (?, ?, ?, ?)',
      )
      .run(n, n, session, Buffer.alloc(64, 7));
  });
  await server.restart();
  assert.equal(await signs(server, agent, 'stopped'), 'INTERNAL');
  assert.equal(await signs(server, agent, 'running'), 'INTERNAL');
  assert.equal(await signs(server, agent, 'web'), 'issued');
  await server.restart();
  assert.equal(await signs(server, agent, 'stopped'), 'INTERNAL', 'nor after one more restart');
  const excluded = sql(
    server,
    (database) =>
      (database.prepare('SELECT count(*) AS n FROM log_excluded').get() as { n: number }).n,
  );
  assert.equal(excluded, 2);
});

test('records that were durable and not in the tree when the server was killed get in at the next start', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await addEntry(server, 'web', agent);
  await until(() => checkpointSizes(server).length > 0);
  // another actor has the lease: this process commits and seals, and can not sequence, as if it
  // were killed at that moment
  sql(server, (database) =>
    database.exec(
      `UPDATE leases SET holder = 'other', fence = fence + 1, expires_at_ms = 99999999999999 WHERE name = 'audit-log'`,
    ),
  );
  await addEntry(server, 'late', agent);
  const pending = (): number =>
    sql(
      server,
      (database) =>
        (
          database
            .prepare(
              'SELECT (SELECT max(sequence) FROM audit) - (SELECT sequence FROM log_head) AS n',
            )
            .get() as { n: number }
        ).n,
    );
  await server.stop();
  assert.ok(pending() > 0, 'a record waits outside the tree');
  const seals = sql(
    server,
    (database) =>
      (database.prepare('SELECT count(*) AS n FROM log_seals').get() as { n: number }).n,
  );
  assert.ok(seals > 0);
  await server.restart();
  assert.equal(await signs(server, agent, 'late'), 'issued');
  await server.stop();
  assert.equal(pending(), 0);
  assert.equal(
    sql(
      server,
      (database) =>
        (database.prepare('SELECT count(*) AS n FROM log_excluded').get() as { n: number }).n,
    ),
    0,
  );
});

test('roles, delegations, join tokens, agents and authorities that were changed by SQL give nothing', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  const victim = await server.joinAgent('victim');
  await addEntry(server, 'secret', victim);
  const admin = await server.mint(id('/alice'), { admin: true });
  const list = (as: Credential) =>
    codeOf(
      unaryCall(server.client(as), '/meshca.admin.v1.Entries/ListEntries', {
        page: { size: 10, token: '' },
      }),
    );
  assert.equal(await list(admin), 'ROLE_MISSING');
  sql(server, (database) =>
    database.exec(
      `INSERT INTO roles VALUES ('forged', '["*"]', '["spiffe://mesh.test/"]', '["${admin.spiffeId}"]', 1, 1)`,
    ),
  );
  assert.equal(await list(admin), 'OBJECT_NOT_IN_LOG', 'an admin is told');
  sql(server, (database) => database.exec(`DELETE FROM roles`));
  // a member put into the role that is on record
  await server.admin('Roles/PutRole', {
    role: { name: 'readers', verbs: ['*.read'], prefixes: ['spiffe://mesh.test/'], members: [] },
  });
  sql(server, (database) => database.exec(`UPDATE roles SET members = '["${admin.spiffeId}"]'`));
  assert.equal(await list(admin), 'OBJECT_NOT_IN_LOG');

  const workload = await server.mint(id('/istiod'));
  sql(server, (database) =>
    database.exec(
      'INSERT INTO delegations (id, client_id, patterns, max_ttl_seconds, key_types, ' +
        'dns_patterns, profile, expires_at, revoked_at, created_at, created_by) VALUES ' +
        `('forged', '${workload.spiffeId}', ` +
        "'[\"spiffe://mesh.test/**\"]', 3600, '[\"ec-p256\"]', '[]', 'short-lived', 0, NULL, 1, " +
        "'uid:0')",
    ),
  );
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  assert.equal(
    await codeOf(
      unaryCall(server.client(workload), '/meshca.signing.v1.Signing/Sign', {
        requestId: uuidv7(),
        spiffeId: id('/any'),
        csrDer: createCsr(privateKey),
      }),
    ),
    'INTERNAL',
  );

  await server.admin('Agents/BanAgent', { spiffeId: agent.spiffeId, reason: 'test' });
  sql(server, (database) =>
    database.exec(
      `UPDATE agents SET state = 'active', generation = generation - 1 WHERE spiffe_id = '${agent.spiffeId}'`,
    ),
  );
  assert.equal(
    await codeOf(signs(server, agent, 'secret')),
    'INTERNAL',
    'a ban that was taken back by SQL stands',
  );

  const token = sql(server, (database) => {
    const hash = leafHash(Buffer.alloc(1));
    database
      .prepare(
        `INSERT INTO join_tokens VALUES ('forged', ?, ?, '[]', 9999999999, NULL, NULL, NULL, 'uid:0', 1)`,
      )
      .run(hash, victim.spiffeId);
    return hash;
  });
  assert.equal(token.length, 32);
  await server.stop();
  sql(server, (database) =>
    database.exec(`UPDATE authorities SET state = 'old' WHERE kind = 'issuing'`),
  );
  assert.equal((await startFails(server)).code, 'OBJECT_NOT_IN_LOG');
});

test('a server with a changed, cut or foreign log does not start or does not sign', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await addEntry(server, 'web', agent);
  await until(() => checkpointSizes(server).length > 0);
  sql(server, (database) => database.exec(`VACUUM INTO '${join(server.dir, 'older.db')}'`));
  await addEntry(server, 'db', agent);
  await server.stop();
  const good = await readFile(databaseOf(server));
  const restore = async (bytes: Buffer): Promise<void> => {
    await writeFile(databaseOf(server), bytes);
    for (const suffix of ['-wal', '-shm']) await writeFile(`${databaseOf(server)}${suffix}`, '');
  };
  const after = async (change: string): Promise<string> => {
    await restore(good);
    sql(server, (database) => {
      database.exec('DROP TRIGGER audit_refuses_update; DROP TRIGGER audit_refuses_delete');
      database.exec(change);
    });
    const error = await startFails(server);
    return `${error.code} ${String(error.detail['sequence'] ?? '')}`.trim();
  };
  assert.equal(
    await after(
      'UPDATE audit SET canonical = CAST(replace(CAST(canonical AS TEXT), \'"actor"\', ' +
        '\'"aktor"\') AS BLOB) WHERE sequence = 5',
    ),
    'AUDIT_INVALID 5',
  );
  assert.equal(await after(`DELETE FROM audit WHERE sequence = 4`), 'AUDIT_INVALID 4');
  assert.equal(
    await after(
      'UPDATE audit SET sequence = -1 WHERE sequence = 6; UPDATE audit SET sequence = 6 ' +
        'WHERE sequence = 7; UPDATE audit SET sequence = 7 WHERE sequence = -1',
    ),
    'AUDIT_INVALID 6',
  );
  assert.equal(
    await after(
      "UPDATE log_checkpoints SET note = replace(note, 'mesh', 'mess') WHERE size = (SELECT " +
        'max(size) FROM log_checkpoints)',
    ),
    'AUDIT_INVALID',
  );
  assert.equal(await after(`DELETE FROM log_checkpoints`), 'AUDIT_INVALID');
  assert.equal(await after(`UPDATE log_head SET size = size - 1`), 'AUDIT_INVALID');
  await restore(await readFile(join(server.dir, 'older.db')));
  await server.restart();
  assert.match(
    (await server.admin('Server/GetStatus')).reasons.join(),
    /DATABASE_STALE/,
    'an older one administers, and signs nothing',
  );
  assert.equal(server.server.port, 0);
  await server.stop();
  await restore(good);
  await server.restart();
  assert.equal(await signs(server, agent, 'db'), 'issued');
});

test('a certificate whose inventory row was made another kind by SQL opens nothing', async () => {
  await using server = await startTestServer();
  const bob = await server.mint(id('/bob'));
  await server.admin('Roles/PutRole', {
    role: { name: 'all', verbs: ['*'], prefixes: ['spiffe://mesh.test/'], members: [bob.spiffeId] },
  });
  const list = (as: Credential) =>
    codeOf(
      unaryCall(server.client(as), '/meshca.admin.v1.Entries/ListEntries', {
        page: { size: 10, token: '' },
      }),
    );
  assert.equal(
    await list(bob),
    'CALLER_NOT_ADMITTED',
    'a workload is no admin, whatever role names it',
  );
  sql(server, (database) =>
    database.exec(`UPDATE certificates SET kind = 'admin' WHERE spiffe_id = '${bob.spiffeId}'`),
  );
  assert.notEqual(await list(bob), 'resolved', 'while it runs');
  await server.restart();
  assert.notEqual(await list(bob), 'resolved', 'after a restart');
  const alice = await server.mint(id('/alice'), { admin: true });
  await server.admin('Roles/PutRole', {
    role: {
      name: 'all',
      verbs: ['*'],
      prefixes: ['spiffe://mesh.test/'],
      members: [alice.spiffeId],
    },
  });
  assert.equal(await list(alice), 'resolved');
  await server.restart();
  assert.equal(await list(alice), 'resolved', 'her record is proven by the tree');
});

test("with a foreign trigger in the database a running server stops writing and a stopped one won't start", async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await addEntry(server, 'web', agent);
  const trigger =
    'CREATE TRIGGER quiet AFTER INSERT ON entries BEGIN UPDATE entries SET spiffe_id = ' +
    `'${id('/admin')}' WHERE id = NEW.id; END`;
  sql(server, (database) => database.exec(trigger));
  const { results } = await server
    .admin('Entries/CreateEntries', {
      entries: [
        { id: 'db', spiffeId: id('/db'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
      ],
    })
    .catch(() => ({ results: [{ entry: null }] }));
  const written = sql(
    server,
    (database) =>
      database.prepare(`SELECT count(*) AS n FROM entries WHERE id = 'db'`).get() as { n: number },
  ).n;
  // it goes on by itself when the trigger is gone
  sql(server, (database) => database.exec('DROP TRIGGER quiet'));
  assert.deepEqual([results[0]!.entry ?? null, written], [null, 0]);
  await addEntry(server, 'again', agent);
  await server.stop();
  sql(server, (database) => database.exec(trigger));
  assert.equal((await startFails(server)).code, 'STORE_CORRUPT');
  // one that takes the name of ours is told apart as well
  sql(server, (database) =>
    database.exec(
      `DROP TRIGGER quiet; DROP TRIGGER audit_refuses_update; ${trigger.replace('quiet', 'audit_refuses_update')}`,
    ),
  );
  assert.equal((await startFails(server)).code, 'STORE_CORRUPT');
  sql(server, (database) => database.exec('DROP TRIGGER audit_refuses_update'));
  await server.restart();
  await addEntry(server, 'db', agent);
  assert.equal(await signs(server, agent, 'db'), 'issued');
});
