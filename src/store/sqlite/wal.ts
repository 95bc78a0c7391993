import { closeSync, fdatasync, fdatasyncSync, fstatSync, openSync } from 'node:fs';
import type { Clock } from '../../common/runtime/index.ts';
import { SyncPace } from './sync-pace.ts';

/**
 * The write-ahead log of a database, on a descriptor of its own. SQLite holds its locks on other
 * files, so that closing this descriptor drops none.
 */
export interface WalFile {
  /**
   * Puts everything written to the log so far on the disk: before it returns undefined, or before the
   * promise resolves. SQLite itself does this at each commit with `synchronous = FULL`
   * (https://www.sqlite.org/pragma.html#pragma_synchronous). Recovery takes the log up to its last
   * whole commit, so that all earlier commits are on the disk as well. Throws or rejects if that is
   * uncertain.
   */
  readonly sync: () => Promise<void> | undefined;
  close(): void;
}

/**
 * The file must exist. SQLite makes it with the first transaction and keeps it as long as a
 * connection is open.
 */
export function openWal(path: string, clock: Pick<Clock, 'monotonicMs'>): WalFile {
  const descriptor = openSync(path, 'r+');
  const pace = new SyncPace(clock);
  /** A deleted file: SQLite writes to a file that nobody can open again. */
  const requireFile = (): void => {
    if (fstatSync(descriptor).nlink === 0) throw new Error(`${path} was deleted`);
  };
  const syncHere = (): undefined => {
    const startedMs = clock.monotonicMs();
    fdatasyncSync(descriptor);
    pace.took(clock.monotonicMs() - startedMs);
    requireFile();
    return undefined;
  };
  const syncElsewhere = async (): Promise<void> => {
    await new Promise<void>((resolve, reject) => {
      fdatasync(descriptor, (error) => (error === null ? resolve() : reject(error)));
    });
    requireFile();
  };
  return {
    sync: () => (pace.isInline() ? syncHere() : syncElsewhere()),
    close: () => closeSync(descriptor),
  };
}
