import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import { openStore, type TestStoreOptions } from '../../support/open-store.ts';
import { migrate, migrations } from '../../../src/store/sqlite/migrations.ts';
import {
  activeAuthority,
  by,
  code,
  creates,
  draft,
  event,
  issued,
} from '../../compliance/store/fixtures.ts';

function databasePath(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-store-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'meshca.db');
}
const open = (path: string, options: Partial<TestStoreOptions> = {}): Promise<Ledger> =>
  openStore({ path, clock: systemClock, logger: silentLogger, pid: process.pid, ...options });

/** Changes the closed database as somebody else would. */
function outside(path: string, sql: string): void {
  const database = new DatabaseSync(path);
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
}

test('a database of a later release, a changed migration record and another program are told apart', async (t) => {
  const path = databasePath(t);
  await (await open(path)).close();
  copyFileSync(path, `${path}.changed`);
  outside(path, `INSERT INTO migrations VALUES (${migrations.length + 1}, 'future', 'ab', 1)`);
  await assert.rejects(open(path), code('STORE_TOO_NEW'));
  outside(`${path}.changed`, `UPDATE migrations SET sha256 = 'ab' WHERE version = 1`);
  await assert.rejects(open(`${path}.changed`), code('STORE_CORRUPT'));
  outside(`${path}.foreign`, 'CREATE TABLE customers (id INTEGER)');
  await assert.rejects(open(`${path}.foreign`), code('STORE_FAILED'));
  const foreign = new DatabaseSync(`${path}.foreign`);
  assert.deepEqual(
    foreign
      .prepare('SELECT name FROM sqlite_schema')
      .all()
      .map(({ name }) => name),
    ['customers'],
    'and it is left as it was',
  );
  foreign.close();
});

test('an old copy is brought forward in order, once, and a step that fails leaves it as it was', (t) => {
  const path = databasePath(t);
  const step = (version: number, sql: string) => ({ version, name: `step-${version}`, sql });
  const [one, two, bad] = [
    step(1, 'CREATE TABLE a (x INTEGER) STRICT'),
    step(2, 'ALTER TABLE a ADD COLUMN y TEXT; UPDATE a SET y = x + 1'),
    step(3, 'CREATE TABLE c (z INTEGER) STRICT; SELECT nonsense'),
  ];
  const database = new DatabaseSync(path);
  migrate(database, 1, [one]);
  database.exec('INSERT INTO a (x) VALUES (41)');
  database.close();
  copyFileSync(path, `${path}.old`);
  const old = new DatabaseSync(`${path}.old`);
  migrate(old, 2, [one, two]);
  migrate(old, 3, [one, two]);
  assert.deepEqual({ ...old.prepare('SELECT x, y FROM a').get() }, { x: 41, y: '42' });
  assert.deepEqual(
    old
      .prepare('SELECT version, applied_at FROM migrations')
      .all()
      .map((row) => ({ ...row })),
    [
      { version: 1, applied_at: 1 },
      { version: 2, applied_at: 2 },
    ],
  );
  assert.throws(() => migrate(old, 4, [one, two, bad]));
  assert.deepEqual(
    old
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
      .all()
      .map(({ name }) => name),
    ['a', 'migrations'],
  );
  assert.throws(() => migrate(old, 4, [one]), code('STORE_TOO_NEW'));
  assert.throws(
    () => migrate(old, 4, [step(1, 'CREATE TABLE b (x INTEGER)'), two]),
    code('STORE_CORRUPT'),
  );
  old.close();
});

test('the step to authorities for names keeps authorities, their parents, evidence and rotations', (t) => {
  const database = new DatabaseSync(databasePath(t), { enableForeignKeyConstraints: true });
  t.after(() => database.close());
  const before = migrations.filter(({ version }) => version < 16);
  migrate(database, 1, before);
  const authority = (id: string, kind: string, parent: string): string =>
    'INSERT INTO authorities (id, kind, state, version, key_type, token, cka_id, parent_id, ' +
    'scope, not_before, not_after, created_at, highest_jwt_expiry, published_at, ' +
    `taint_window_seconds) VALUES ('${id}', '${kind}', 'active', 3, 'ec-p256', 'root', ` +
    `'key-${id}', ${parent}, '{}', 1, 2, 3, 4, 5, 6)`;
  const rotation = (id: string, kind: string): string =>
    `INSERT INTO rotations VALUES ('${id}', '${kind}', 'running', 1, '{}', 'a', 1, 2)`;
  // the child has the smaller key, so that a copy in the order of the keys meets it first
  database.exec(authority('b', 'root', 'NULL'));
  database.exec(authority('a', 'issuing', "'b'"));
  database.exec("INSERT INTO activation_evidence VALUES ('ab', 'a', 1, x'01')");
  database.exec("INSERT INTO activation_evidence_parts VALUES ('ab', 0, x'02')");
  database.exec(rotation('r', 'root'));
  assert.throws(() => database.exec(authority('n', 'names-root', 'NULL')), /CHECK/);
  const rows = (): unknown[] =>
    ['authorities', 'activation_evidence', 'activation_evidence_parts', 'rotations'].map((table) =>
      database
        .prepare(`SELECT * FROM ${table}`)
        .all()
        .map((row) => ({ ...row })),
    );
  const kept = rows();
  migrate(database, 2);
  assert.deepEqual(rows(), kept);
  database.exec(authority('n', 'names-root', 'NULL'));
  database.exec(authority('m', 'names-issuing', "'n'"));
  database.exec(rotation('q', 'names-root'));
  assert.throws(() => database.exec(rotation('p', 'names-root')), /UNIQUE/, 'one under way a kind');
  assert.throws(() => database.exec(authority('x', 'names-leaf', 'NULL')), /CHECK/);
  assert.throws(() => database.exec(authority('y', 'issuing', "'none'")), /FOREIGN KEY/);
  assert.throws(
    () => database.exec("INSERT INTO activation_evidence VALUES ('cd', 'none', 1, x'01')"),
    /FOREIGN KEY/,
  );
});

test('certificates of before get the tenant that the record of their issuance states', (t) => {
  const database = new DatabaseSync(databasePath(t));
  t.after(() => database.close());
  migrate(
    database,
    1,
    migrations.filter(({ version }) => version < 25),
  );
  const record = (kind: string, serial: string, tenant: object): void => {
    const detail = { serial, ...tenant };
    const canonical = Buffer.from(JSON.stringify({ kind, detail }));
    database
      .prepare("INSERT INTO audit VALUES (NULL, 1, 1, 'a', ?, 's', ?, x'00')")
      .run(kind, canonical);
    database
      .prepare(
        'INSERT INTO certificates (serial, spiffe_id, kind, profile, state, requester, holder, ' +
          'public_key_sha256, request_id, authority_id, created_at_ms, not_before, not_after) ' +
          "VALUES (?, 'ip:192.0.2.1', 'endpoint', 'short', 'intent', 'a', 'a', x'01', ?, 'i', 1, 2, 3)",
      )
      .run(Buffer.from(serial, 'hex'), serial);
  };
  record('certificate.issued', 'aa', { tenant: 'shop' });
  record('certificate.withheld', 'ab', { tenant: 'web' });
  record('certificate.issued', 'ac', {});
  record('tenant.created', 'ad', { tenant: 'shop' });
  migrate(database, 2);
  const rows = database.prepare('SELECT tenant FROM certificates ORDER BY serial').all();
  assert.deepEqual(
    rows.map(({ tenant }) => tenant),
    ['shop', 'web', null, null],
  );
});

test('the states of certificates are checked without a temporary table, also in an old database', (t) => {
  const database = new DatabaseSync(databasePath(t));
  t.after(() => database.close());
  migrate(
    database,
    1,
    migrations.filter(({ version }) => version < 27),
  );
  const insert = (state: string): string =>
    'INSERT INTO certificates (serial, spiffe_id, kind, profile, state, requester, holder, ' +
    'public_key_sha256, request_id, authority_id, created_at_ms, not_before, not_after) ' +
    `VALUES (randomblob(16), 's', 'x509-svid', 'w', '${state}', 'a', 'a', x'01', 'r', 'i', 1, 2, 3)`;
  const temporaryTables = (sql: string): number =>
    database
      .prepare(`EXPLAIN ${sql}`)
      .all()
      .filter(({ opcode }) => opcode === 'OpenEphemeral').length;
  database.exec(insert('withheld'));
  assert.equal(temporaryTables(insert('intent')), 1);
  migrate(database, 2);
  const end = "UPDATE certificates SET state = 'refused' WHERE sequence = 2 AND state = 'intent'";
  assert.equal(temporaryTables(insert('intent')), 0);
  assert.equal(temporaryTables(end), 0);
  for (const state of ['intent', 'refused', 'abandoned']) database.exec(insert(state));
  assert.throws(() => database.exec(insert('issued')), /CHECK/, 'an issued one has its bytes');
  assert.throws(() => database.exec(insert('lost')), /CHECK/);
  assert.throws(
    () => database.exec("UPDATE certificates SET state = 'lost' WHERE sequence = 2"),
    /CHECK/,
  );
  assert.deepEqual(
    database
      .prepare('SELECT state FROM certificates ORDER BY sequence')
      .all()
      .map(({ state }) => state),
    ['withheld', 'intent', 'refused', 'abandoned'],
  );
  const [{ integrity_check: integrity }] = database.prepare('PRAGMA integrity_check').all() as [
    { integrity_check: string },
  ];
  assert.equal(integrity, 'ok');
  database.exec('PRAGMA writable_schema = ON');
  assert.throws(
    () => database.exec("UPDATE sqlite_schema SET sql = '' WHERE name = 'certificates'"),
    /may not be modified/,
    'the schema can not be changed otherwise',
  );
});

test('a cut, overwritten or foreign database file is corrupt by code, and the message names the file', async (t) => {
  const path = databasePath(t);
  writeFileSync(path, Buffer.alloc(8192, 'x'));
  await assert.rejects(
    open(path),
    (error) =>
      code('STORE_CORRUPT')(error) &&
      (error as PkiError).message.includes(path) &&
      (error as PkiError).grade === 'fatal',
  );
  rmSync(path);
  const store = await open(path);
  const { id: authorityId } = await activeAuthority(store);
  for (let index = 0; index < 40; index += 1) await issued(store, authorityId);
  await store.entries.write(
    Array.from({ length: 200 }, (_, index) =>
      creates(draft({ spiffeId: `spiffe://example.org/w${index}` })),
    ),
    by,
  );
  await store.close();
  const size = statSync(path).size;
  copyFileSync(path, `${path}.cut`);
  truncateSync(`${path}.cut`, Math.floor(size / 3 / 4096) * 4096);
  const reads = async (damaged: string): Promise<void> => {
    const opened = await open(damaged);
    try {
      await opened.certificates.list({}, 'created', { size: 1000 });
      await opened.entries.list({}, { size: 1000 });
      await opened.audit.list({}, { size: 1000 });
    } finally {
      await opened.close().catch(() => {});
    }
  };
  await assert.rejects(reads(`${path}.cut`), code('STORE_CORRUPT'));
  const whole = new DatabaseSync(path);
  const leaves = whole
    .prepare(`SELECT pageno FROM dbstat WHERE name = 'entries' AND pagetype = 'leaf'`)
    .all();
  whole.close();
  const file = openSync(path, 'r+');
  for (const { pageno } of leaves)
    writeSync(file, Buffer.alloc(512, 0xff), 0, 512, (Number(pageno) - 1) * 4096);
  closeSync(file);
  await assert.rejects(
    reads(path),
    (error) =>
      code('STORE_CORRUPT')(error) && (error as PkiError).message.includes('table entries'),
  );
});

test('a row that somebody filled with other than what was written is corrupt, by the name of its table', async (t) => {
  const path = databasePath(t);
  const store = await open(path);
  const made = draft();
  await store.entries.write([creates(made)], by);
  await store.close();
  outside(path, `UPDATE entries SET selectors = '{broken'`);
  const again = await open(path);
  await assert.rejects(
    again.entries.byId(made.id),
    (error) => code('STORE_CORRUPT')(error) && (error as PkiError).message.includes('entries'),
  );
  await again.close();
});

test('the log refuses to be changed, deleted from or replaced', async (t) => {
  const path = databasePath(t);
  const store = await open(path);
  await store.audit.append([event('a.b'), event('a.c')]);
  await store.close();
  for (const sql of [
    'UPDATE audit SET kind = 1',
    'DELETE FROM audit',
    'DELETE FROM audit WHERE sequence = 2',
  ]) {
    assert.throws(() => outside(path, sql), /append-only/);
  }
  assert.throws(
    () =>
      outside(
        path,
        `PRAGMA recursive_triggers = ON; INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE sequence = 1`,
      ),
    /append-only/,
  );
  const again = await open(path);
  assert.equal(await again.audit.count(), 2);
  await again.close();
});

test('calls of one turn share a commit, and none returns before it', async (t) => {
  let durable = 0;
  // no time passes, so that no group is split because the machine is slow
  const store = await open(databasePath(t), {
    clock: { ...systemClock, monotonicMs: () => 0 },
    onDurable: () => (durable += 1),
  });
  const seen: number[] = [];
  await Promise.all(
    Array.from({ length: 50 }, () =>
      store.audit.append([event('a.b')]).then(() => seen.push(durable)),
    ),
  );
  assert.ok(durable <= 10, `${durable} commits for 50 calls`);
  assert.ok(seen.every((count) => count > 0));
  assert.equal(await store.audit.count(), 50);
  await store.close();
});

test('a log file that somebody deletes under the server is noticed before anything is told as written', async (t) => {
  const path = databasePath(t);
  const store = await open(path);
  await store.audit.append([event('a.b')]);
  rmSync(`${path}-wal`);
  await assert.rejects(store.audit.append([event('a.b')]), code('STORE_FAILED'));
  await assert.rejects(store.audit.append([event('a.b')]), code('STORE_FAILED'));
  await assert.rejects(store.audit.count(), code('STORE_FAILED'));
  await store.close();
});

test('synchronous OFF is for the fault drill only', async (t) => {
  const path = databasePath(t);
  await assert.rejects(open(path, { synchronous: 'OFF' }), code('CONFIG_INVALID'));
  await (await open(path, { synchronous: 'OFF', faultDrill: true })).close();
  await (await open(':memory:')).close();
});

test('no secret-bearing column exists, and what is issued keeps no TBS', async (t) => {
  const path = databasePath(t);
  const store = await open(path);
  const { id: authorityId } = await activeAuthority(store);
  await issued(store, authorityId, { tbsDer: Buffer.from('to be signed, once') });
  await store.close();
  const database = new DatabaseSync(path, { readOnly: true });
  assert.deepEqual(
    { ...database.prepare('SELECT count(tbs_der) AS kept FROM certificates').get() },
    { kept: 0 },
  );
  database.close();
  assert.ok(readFileSync(path).length > 0);
});
