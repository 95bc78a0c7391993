import { PkiError } from '../../common/errors/index.ts';

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html). */
const result = {
  busy: 5,
  locked: 6,
  outOfMemory: 7,
  readOnly: 8,
  inputOutput: 10,
  corrupt: 11,
  full: 13,
  canNotOpen: 14,
  constraint: 19,
  notDatabase: 26,
} as const;
const constraintPrimaryKey = 1555;
const constraintUnique = 2067;
const constraintRowId = 2579;
const constraintForeignKey = 787;

const codeOf = (thrown: unknown): number | undefined =>
  thrown instanceof Error && 'errcode' in thrown && typeof thrown.errcode === 'number'
    ? thrown.errcode
    : undefined;

/**
 * Trouble with the disk, its file system or another process on the database, not with one
 * statement.
 */
const storageTrouble: ReadonlySet<number> = new Set([
  result.busy,
  result.locked,
  result.outOfMemory,
  result.readOnly,
  result.inputOutput,
  result.full,
  result.canNotOpen,
]);

export function isStorageTrouble(thrown: unknown): boolean {
  const code =
    thrown instanceof PkiError ? (codeOf(thrown.cause) ?? codeOf(thrown)) : codeOf(thrown);
  return storageTrouble.has((code ?? 0) & 0xff);
}

export const isDiskFull = (thrown: unknown): boolean =>
  ((codeOf(thrown) ?? 0) & 0xff) === result.full;
/** The engine could not open or write the file. */
export const isAccessTrouble = (thrown: unknown): boolean => {
  const primary = (codeOf(thrown) ?? 0) & 0xff;
  return primary === result.canNotOpen || primary === result.readOnly;
};
export const isBusy = (thrown: unknown): boolean => {
  const primary = (codeOf(thrown) ?? 0) & 0xff;
  return primary === result.busy || primary === result.locked;
};

/**
 * Turns what the engine threw into a PkiError. A PkiError is returned unchanged. The message names
 * the table in `sql`, never values. Everything else is a defect of ours and becomes INTERNAL.
 */
export function storeError(thrown: unknown, sql?: string): PkiError {
  if (thrown instanceof PkiError) return thrown;
  const code = codeOf(thrown);
  if (code === undefined) return PkiError.from(thrown);
  const table = sql === undefined ? undefined : /(?:from|into|update) "(\w+)"/.exec(sql)?.[1];
  const message = `${table === undefined ? 'database' : `table ${table}`}: ${(thrown as Error).message}`;
  const options = {
    cause: thrown,
    detail: { sqliteCode: code, ...(table === undefined ? {} : { table }) },
  };
  switch (code & 0xff) {
    case result.corrupt:
    case result.notDatabase:
      return new PkiError('STORE_CORRUPT', message, { ...options, grade: 'fatal' });
    case result.constraint:
      if (code === constraintPrimaryKey || code === constraintUnique || code === constraintRowId)
        return new PkiError('ALREADY_EXISTS', message, options);
      if (code === constraintForeignKey)
        return new PkiError('NOT_FOUND', `${message}: what it refers to does not exist`, options);
      return new PkiError('STORE_FAILED', message, options);
    case result.busy:
    case result.locked:
      return new PkiError('STORE_FAILED', `${message}: another program holds a lock on it`, {
        ...options,
        next:
          'End the program that has the database open ("fuser meshca.db" in its folder names ' +
          'it; a sqlite3 shell or a copy by a backup tool): the server then goes on by ' +
          'itself. Make backups with "meshca backup".',
      });
    case result.full:
      return new PkiError('STORE_FAILED', message, {
        ...options,
        next: 'Free space on the disk of the database; the server then continues to write.',
      });
    default:
      return new PkiError('STORE_FAILED', message, options);
  }
}

/** Whether a commit is on the disk is unknown. */
export const notDurableError = (thrown: unknown): PkiError =>
  new PkiError('STORE_FAILED', `a commit could not be made durable: ${(thrown as Error).message}`, {
    cause: thrown,
    grade: 'fatal',
    next: 'Check the disk of the database, then start the server again: until then it signs nothing.',
  });
