import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import { Checkpoints } from '../../../src/store/sqlite/checkpoints.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshca-checkpoints-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function open(name: string) {
  const path = join(dir, name);
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = WAL');
  database.exec('PRAGMA wal_autocheckpoint = 0');
  database.exec('CREATE TABLE rows (id INTEGER PRIMARY KEY, bytes BLOB)');
  const insert = database.prepare('INSERT INTO rows (bytes) VALUES (randomblob(40000))');
  const pass = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');
  return { path, database, insert, pass };
}

test('while commits follow each other, the log is copied and begun anew without their help', async () => {
  const { path, database, insert, pass } = open('busy.db');
  let rests = 0;
  const checkpoints = new Checkpoints({
    path,
    clock: systemClock,
    logger: silentLogger,
    copyRest: () => {
      rests += 1;
      pass.get();
    },
  });
  let commits = 0;
  while (rests < 2) {
    insert.run();
    checkpoints.committed();
    commits += 1;
    await immediate();
  }
  insert.run();
  const { log } = pass.get() as { readonly log: number };
  assert.ok(log < commits * 10, `the log has ${log} pages after ${commits} commits of ten`);
  await checkpoints.close();
  const rows = database.prepare('SELECT count(*) AS n FROM rows').get() as { readonly n: number };
  assert.equal(rows.n, commits + 1);
  database.close();
});

test('a store that rarely commits begins no thread, and a thread that can not work is given up', async () => {
  const { path, database, insert, pass } = open('rare.db');
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const warned: string[] = [];
  const logger = { ...silentLogger, warn: (_: object, text: string) => void warned.push(text) };
  const options = { clock, logger, copyRest: () => void pass.get() };
  const rare = new Checkpoints({ ...options, path: join(dir, 'absent', 'no.db') });
  for (let commit = 0; commit < 300; commit += 1) {
    nowMs += 1_000;
    rare.committed();
  }
  await rare.close();
  assert.deepEqual(warned, []);

  const broken = new Checkpoints({ ...options, path: join(dir, 'absent', 'no.db') });
  while (warned.length === 0) {
    insert.run();
    broken.committed();
    await immediate();
  }
  await broken.close();
  assert.equal(warned.length, 1);
  assert.ok(path);
  database.close();
});

test('a log that another process holds is alerted once, and its end is told', async () => {
  const { path, database, insert, pass } = open('held.db');
  const lines: string[] = [];
  const logger = {
    ...silentLogger,
    error: (fields: object, text: string) => void lines.push(`${JSON.stringify(fields)} ${text}`),
    info: (_: object, text: string) => void lines.push(text),
  };
  const copyRest = (): void => void pass.get();
  const checkpoints = new Checkpoints({ path, clock: systemClock, logger, copyRest });
  const reader = new DatabaseSync(path);
  reader.exec('BEGIN; SELECT count(*) FROM rows');
  const large = database.prepare('INSERT INTO rows (bytes) VALUES (zeroblob(1400000))');
  const commit = async (statement: typeof insert): Promise<void> => {
    statement.run();
    checkpoints.committed();
    await immediate();
  };
  while (lines.length === 0) await commit(large);
  for (let more = 0; more < 200; more += 1) await commit(insert);
  assert.equal(lines.length, 1, lines.join());
  assert.match(lines[0] ?? '', /another process reads.*"alert":true.*grows/);
  reader.exec('COMMIT');
  while (lines.length === 1) await commit(insert);
  assert.match(lines[1] ?? '', /copied into the database again/);
  await checkpoints.close();
  reader.close();
  database.close();
});
