import { closeSync, fdatasync, fstatSync, openSync } from 'node:fs';

/**
 * The write-ahead log of a database, by a descriptor of its own. SQLite holds its locks on the
 * other files, so closing it here drops none.
 */
export interface WalFile {
  /**
   * Resolves when everything that was written to the log so far is on the disk: what SQLite itself
   * does at each commit with `synchronous = FULL`
   * (https://www.sqlite.org/pragma.html#pragma_synchronous), on a thread of libuv. Recovery takes
   * the log up to its last whole commit, so a commit on the disk has all those before it there as
   * well.
   */
  readonly sync: () => Promise<void>;
  close(): void;
}

/**
 * The file must exist: SQLite makes it with the first transaction, and keeps it for as long as a
 * connection is open.
 */
export function openWal(path: string): WalFile {
  const descriptor = openSync(path, 'r+');
  return {
    sync: () =>
      new Promise((resolve, reject) => {
        fdatasync(descriptor, (error) => {
          if (error !== null) reject(error);
          // then SQLite writes to a file that nobody will find again
          else if (fstatSync(descriptor).nlink === 0) reject(new Error(`${path} was deleted`));
          else resolve();
        });
      }),
    close: () => closeSync(descriptor),
  };
}
