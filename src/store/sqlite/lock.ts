import { closeSync, existsSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { notPermitted, permissionError } from '../../common/unix/path-permission.ts';
import { isAccessTrouble, isBusy, storeError } from './sqlite-error.ts';

export interface DatabaseLock {
  release(): void;
}

/**
 * One server per database, by a second SQLite file whose write lock (RESERVED) is held for the life
 * of the process. The kernel drops the lock with the process, also after kill -9. Others can still
 * read who holds it. POSIX locks have one trap: a process that opens and closes the file by other
 * means than SQLite loses its lock. So no other code may touch this file.
 *
 * @throws PkiError STORE_LOCKED with the holder's `pid` and `since` in its detail
 */
export function acquireLock(
  path: string,
  holder: { readonly pid: number; readonly now: number },
): DatabaseLock {
  let database: DatabaseSync | undefined;
  try {
    if (!existsSync(path)) closeSync(openSync(path, 'wx', 0o600));
    // Long enough for a reader of the holder's name to finish, short enough for a quick answer.
    database = new DatabaseSync(path, { timeout: 200 });
    // The name must be committed to be readable, and the lock is taken again after the commit.
    // Another starting process may come in between. A process that then has the lock under the
    // other's name gives way and tries again.
    for (let locked = false, attempt = 0; !locked; attempt += 1) {
      claim(database, holder);
      database.exec('BEGIN IMMEDIATE');
      locked = readHolder(database)?.pid === holder.pid || attempt === 10;
      if (!locked) database.exec('ROLLBACK');
    }
  } catch (error) {
    const refusal = isBusy(error)
      ? lockedError(database, path)
      : (permissionError(error) ??
        (isAccessTrouble(error) ? notPermitted(path, error) : undefined) ??
        lockFileError(error, path));
    database?.close();
    throw refusal;
  }
  const lock = database;
  return {
    release: () => {
      lock.exec('ROLLBACK');
      lock.close();
    },
  };
}

function claim(
  database: DatabaseSync,
  holder: { readonly pid: number; readonly now: number },
): void {
  database.exec('BEGIN IMMEDIATE');
  database.exec(
    'CREATE TABLE IF NOT EXISTS holder (id INTEGER PRIMARY KEY CHECK (id = 1), pid INTEGER ' +
      'NOT NULL, since INTEGER NOT NULL) STRICT',
  );
  database
    .prepare('INSERT OR REPLACE INTO holder (id, pid, since) VALUES (1, ?, ?)')
    .run(holder.pid, holder.now);
  database.exec('COMMIT');
}

function readHolder(
  database: DatabaseSync,
): { readonly pid: number; readonly since: number } | undefined {
  try {
    return database.prepare('SELECT pid, since FROM holder').get() as
      | { pid: number; since: number }
      | undefined;
  } catch {
    // The other process has not written its name yet.
    return undefined;
  }
}

function lockedError(database: DatabaseSync | undefined, path: string): PkiError {
  const row = database === undefined ? undefined : readHolder(database);
  if (row === undefined) return new PkiError('STORE_LOCKED', `another process holds ${path}`);
  const since = new Date(row.since * 1000).toISOString();
  return new PkiError('STORE_LOCKED', `process ${row.pid} holds ${path} since ${since}`, {
    detail: { pid: row.pid, since: row.since },
  });
}

const lockFileError = (error: unknown, path: string): PkiError =>
  new PkiError(
    'STORE_FAILED',
    `the lock file ${path} can not be used: ${storeError(error).message}`,
    {
      cause: error,
      next: 'Check that the folder exists and is writable; a damaged lock file may be deleted while no server runs.',
    },
  );
