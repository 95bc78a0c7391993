import { closeSync, fdatasync, fstatSync, openSync } from 'node:fs';

/**
 * The write-ahead log of a database, on a descriptor of its own. SQLite holds its locks on other
 * files, so that closing this descriptor drops none.
 */
export interface WalFile {
  /**
   * Resolves when everything written to the log so far is on the disk. SQLite itself does this at
   * each commit with `synchronous = FULL` (https://www.sqlite.org/pragma.html#pragma_synchronous);
   * here a thread of libuv does it. Recovery takes the log up to its last whole commit, so that all
   * earlier commits are on the disk as well.
   */
  readonly sync: () => Promise<void>;
  close(): void;
}

/**
 * The file must exist. SQLite makes it with the first transaction and keeps it as long as a
 * connection is open.
 */
export function openWal(path: string): WalFile {
  const descriptor = openSync(path, 'r+');
  return {
    sync: () =>
      new Promise((resolve, reject) => {
        fdatasync(descriptor, (error) => {
          if (error !== null) reject(error);
          // then SQLite writes to a file that nobody can open again
          else if (fstatSync(descriptor).nlink === 0) reject(new Error(`${path} was deleted`));
          else resolve();
        });
      }),
    close: () => closeSync(descriptor),
  };
}
