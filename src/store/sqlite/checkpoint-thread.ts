import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';

/** Pages in the write-ahead log after a pass, and how many of them are copied; or why there was none. */
export type FromCheckpoints =
  | { readonly pages: number; readonly copied: number }
  | { readonly error: string };

/**
 * The thread that copies the write-ahead log into the database (a checkpoint), each time that it is
 * asked. A passive checkpoint waits for nobody, and nobody waits for it
 * (https://www.sqlite.org/c3ref/wal_checkpoint_v2.html). It syncs the log before it copies, and the
 * database afterwards.
 */
const database = new DatabaseSync(workerData as string);
database.exec('PRAGMA synchronous = NORMAL');
const checkpoint = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');

parentPort?.on('message', (message: 'pass' | 'close') => {
  if (message === 'close') {
    database.close();
    parentPort?.close();
    return;
  }
  const post = (answer: FromCheckpoints): void => parentPort?.postMessage(answer);
  try {
    const { log, checkpointed } = checkpoint.get() ?? {};
    post({ pages: Number(log ?? 0), copied: Number(checkpointed ?? 0) });
  } catch (thrown) {
    post({ error: (thrown as Error).message });
  }
});
