import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestServer } from './server.ts';
import { patienceMs, until } from './until.ts';

/** Resolves when the log of a server has every record of this moment in its tree. */
export async function logSettled(server: TestServer): Promise<void> {
  const database = new DatabaseSync(join(server.dir, 'data', 'meshca.db'), { readOnly: true, timeout: patienceMs });
  try {
    const { last } = database.prepare('SELECT max(sequence) AS last FROM audit').get() as { last: number };
    const head = database.prepare('SELECT sequence FROM log_head');
    await until(() => ((head.get() as { sequence: number } | undefined)?.sequence ?? 0) >= last, `record ${last} in the tree`);
  } finally {
    database.close();
  }
}
