import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { backUp } from '../../../src/store/sqlite/backup.ts';

test('backups of a database that is written without a pause are made, and are whole', async (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'meshca-backup-'));
  context.after(() => rmSync(dir, { recursive: true }));
  let writing = true;
  const database = new DatabaseSync(join(dir, 'source.db'));
  context.after(() => {
    writing = false;
    database.close();
  });
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE pairs (a INTEGER, b INTEGER)');
  const insert = database.prepare('INSERT INTO pairs VALUES (?, ?)');
  let written = 0;
  const write = (): void => {
    if (!writing) return;
    database.exec('BEGIN IMMEDIATE');
    for (let i = 0; i < 200; i++) insert.run(written, written++);
    database.exec('COMMIT');
    setImmediate(write);
  };
  write();
  for (let round = 0; round < 40; round++) {
    const target = join(dir, `backup-${round}.db`);
    const before = written;
    await backUp(database, target);
    const copy = new DatabaseSync(target, { readOnly: true });
    const { rows, whole } = copy
      .prepare('SELECT count(*) AS rows, sum(a = b) AS whole FROM pairs')
      .get() as { rows: number; whole: number | null };
    copy.close();
    assert.ok(rows >= before, 'what was written before the backup is in it');
    assert.equal(rows % 200, 0, 'a transaction is in it as a whole');
    assert.equal(whole ?? 0, rows);
  }
});
