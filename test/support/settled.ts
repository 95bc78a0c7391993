import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestServer } from './server.ts';
import { patienceMs, until } from './until.ts';

/**
 * Resolves when rotation has looked at everything once more, from the beginning to the end. Each
 * look renews the lease.
 */
export async function rotationLooked(server: TestServer): Promise<void> {
  const database = new DatabaseSync(join(server.dir, 'data', 'meshca.db'), {
    readOnly: true,
    timeout: patienceMs,
  });
  try {
    const lease = database.prepare("SELECT expires_at_ms FROM leases WHERE name = 'rotation'");
    const read = (): unknown => lease.get()?.['expires_at_ms'];
    for (let renewed = 0; renewed < 2; renewed += 1) {
      const before = read();
      await until(() => read() !== before, 'rotation looks');
    }
  } finally {
    database.close();
  }
}

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
