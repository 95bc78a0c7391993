import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestServer } from './server.ts';
import { patienceMs, until } from './until.ts';

/**
 * Resolves when the log of a server has every record of this moment in its tree, with the size of
 * the tree.
 */
export async function logSettled(server: TestServer): Promise<number> {
  const database = new DatabaseSync(join(server.dir, 'data', 'meshca.db'), {
    readOnly: true,
    timeout: patienceMs,
  });
  try {
    const { last } = database.prepare('SELECT max(sequence) AS last FROM audit').get() as {
      last: number;
    };
    const head = database.prepare('SELECT size, sequence FROM log_head');
    const read = (): { size: number; sequence: number } =>
      head.get() as { size: number; sequence: number };
    await until(() => read().sequence >= last, `record ${last} in the tree`);
    return read().size;
  } finally {
    database.close();
  }
}
