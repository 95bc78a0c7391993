import {
  copyFileSync,
  existsSync,
  openSync,
  closeSync,
  fsyncSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { backup, DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { PkiError } from '../../common/errors/index.ts';
import { CompactRange } from '../../common/tlog/index.ts';
import {
  committedObject,
  leafHash,
  loggedBlockedKey,
  loggedRevocation,
  type BlockedKey,
  type Revocation,
} from '../../domain/index.ts';
import { bytes } from './codec.ts';
import { acquireLock } from './lock.ts';
import { storeError } from './sqlite-error.ts';

/** Pages per step of the copy. The thread is free between two steps. */
const pagesPerStep = 256;

export async function backUp(database: DatabaseSync, target: string): Promise<void> {
  if (existsSync(target)) throw new PkiError('ALREADY_EXISTS', `${target} exists`);
  closeSync(openSync(target, 'wx', 0o600));
  try {
    await copyPages(database, target);
  } catch (error) {
    rmSync(target, { force: true });
    throw storeError(error);
  }
}

/** A first step that meets no transaction comes long before so many. */
const triesOfFirstStep = 1_000;

/**
 * The steps run on another thread, over the connection on which this thread writes. A step that
 * meets an open transaction is busy. Node tries later steps again, but fails the copy for the first
 * one, with the text that SQLite has for no error.
 */
async function copyPages(database: DatabaseSync, target: string): Promise<void> {
  for (let tries = 1; ; tries++)
    try {
      await backup(database, target, { rate: pagesPerStep });
      return;
    } catch (error) {
      if ((error as Error).message !== 'not an error' || tries === triesOfFirstStep) throw error;
      await nextTurn();
    }
}

/**
 * Puts a backup in the place of a database that no process uses. The replaced database is kept as
 * `.replaced`. The backup is checked first: a foreign or damaged file changes nothing.
 *
 * @throws PkiError STORE_LOCKED, STORE_CORRUPT, STORE_FAILED
 */
export function replaceDatabase(options: {
  readonly path: string;
  readonly from: string;
  readonly pid: number;
  readonly now: number;
}): { readonly replaced: string | undefined } {
  const { path, from } = options;
  const lock = acquireLock(`${path}.lock`, { pid: options.pid, now: options.now });
  try {
    checkBackup(from);
    const fresh = `${path}.restoring`;
    copyFileSync(from, fresh);
    const descriptor = openSync(fresh, 'r+');
    fsyncSync(descriptor);
    closeSync(descriptor);
    let replaced: string | undefined;
    if (existsSync(path)) {
      replaced = `${path}.replaced`;
      fold(path);
      renameSync(path, replaced);
    }
    for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
    renameSync(fresh, path);
    return { replaced };
  } finally {
    lock.release();
  }
}

function checkBackup(path: string): void {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    const [{ quick_check: result }] = database.prepare('PRAGMA quick_check').all() as [
      { quick_check: string },
    ];
    const tables = database
      .prepare(
        `SELECT count(*) AS n FROM sqlite_schema WHERE name IN ('audit', 'meta', 'log_head')`,
      )
      .get() as { n: number };
    if (result !== 'ok' || tables.n !== 3)
      throw new PkiError(
        'STORE_CORRUPT',
        `${path} is not a complete backup of this product: ${result}`,
        {
          next: 'Take another backup; the database in use was not touched.',
        },
      );
  } catch (error) {
    throw storeError(error);
  } finally {
    database?.close();
  }
}

/**
 * Moves the content of the write-ahead log into the file. A database that can not be read is kept
 * unchanged.
 */
function fold(path: string): void {
  try {
    const database = new DatabaseSync(path);
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    database.close();
  } catch {
    // kept unchanged, for somebody who can read it
  }
}

export interface LostRecord {
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
  /** The whole content of the record of a revocation. */
  readonly revocation?: Revocation;
  /** The same of a blocked key. */
  readonly blockedKey?: BlockedKey;
}

/**
 * The records that a replaced database has and the present one lacks, without issuances. `proven`:
 * its records are those under the given checkpoint, so that their content may be used. Undefined:
 * there is no such database, or it can not be read. Reads both logs completely and synchronously.
 */
export function readReplaced(
  path: string,
  present: string,
  expected: { readonly size: number; readonly root: Buffer },
): { readonly proven: boolean; readonly lost: readonly LostRecord[] } | undefined {
  if (!existsSync(path)) return undefined;
  let replaced: DatabaseSync | undefined;
  let here: DatabaseSync | undefined;
  try {
    replaced = new DatabaseSync(path, { readOnly: true });
    here = new DatabaseSync(present, { readOnly: true });
    const range = new CompactRange();
    const lost: LostRecord[] = [];
    const same = recordsInTree(here)[Symbol.iterator]();
    let next = same.next();
    for (const row of recordsInTree(replaced)) {
      if (range.size < expected.size) range.append(leafHash(bytes(row.canonical)));
      while (next.done !== true && next.value.sequence < row.sequence) next = same.next();
      // count only records in the tree: a row that was inserted beside it would hide a lost record
      if (
        next.done !== true &&
        next.value.sequence === row.sequence &&
        bytes(next.value.canonical).equals(bytes(row.canonical))
      )
        continue;
      const content = JSON.parse(
        bytes(row.canonical).toString('utf8').split('\n')[1] ?? '{}',
      ) as Partial<LostRecord>;
      if (content.kind === 'certificate.issued' || content.kind === 'jwt.issued') continue;
      const object = committedObject(bytes(row.canonical));
      lost.push({
        ...(object?.kind === 'revocation' ? { revocation: loggedRevocation(object) } : {}),
        ...(object?.kind === 'blocked-key' ? { blockedKey: loggedBlockedKey(object) } : {}),
        sequence: row.sequence,
        timeMs: content.timeMs ?? 0,
        actor: content.actor ?? '',
        kind: content.kind ?? '',
        subject: content.subject ?? '',
      });
    }
    return { proven: range.size === expected.size && range.root().equals(expected.root), lost };
  } catch {
    return undefined;
  } finally {
    replaced?.close();
    here?.close();
  }
}

function* recordsInTree(
  database: DatabaseSync,
): Generator<{ readonly sequence: number; readonly canonical: Uint8Array }> {
  const runs = database
    .prepare('SELECT first_sequence AS first, length FROM log_runs ORDER BY first_index')
    .all() as { first: number; length: number }[];
  const read = database.prepare(
    'SELECT sequence, canonical FROM audit WHERE sequence BETWEEN ? AND ? ORDER BY sequence',
  );
  for (const { first, length } of runs)
    yield* read.iterate(first, first + length - 1) as Iterable<{
      sequence: number;
      canonical: Uint8Array;
    }>;
}
