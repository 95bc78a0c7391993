import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { Store } from '../../store/ports/index.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { Backup } from '../services.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';

export interface BackupDependencies {
  readonly store: Pick<Store, 'backup' | 'audit'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Copies of the database, for callers with every right. A copy contains no keys, but all identities
 * and who may obtain them.
 */
export class BackupService implements Backup {
  readonly #dependencies: BackupDependencies;

  constructor(dependencies: BackupDependencies) {
    this.#dependencies = dependencies;
  }

  read(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'Backup' }, async () => {
      (await this.#dependencies.access.of(caller)).requireEverything('a backup');
      const { store, clock } = this.#dependencies;
      await store.audit.append([
        {
          timeMs: clock.nowMs(),
          actor: actorOf(caller),
          kind: 'database.backed-up',
          subject: 'database',
          detail: {},
        },
      ]);
      return copy(store, signal);
    });
  }
}

async function* copy(store: Pick<Store, 'backup'>, signal: AbortSignal): AsyncGenerator<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-backup-'));
  try {
    const path = join(folder, 'backup.db');
    await store.backup(path);
    for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024, signal }))
      yield chunk as Buffer;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
