import { openLedger, type Ledger } from '../../src/ledger/index.ts';
import { openSqliteStore, type SqliteStoreOptions } from '../../src/store/index.ts';

export type TestStoreOptions = Omit<SqliteStoreOptions, 'memory'>;

/** A database with the memory of its log, as a server opens it. */
export const openStore = (options: TestStoreOptions): Promise<Ledger> =>
  openLedger({
    engine: (memory) => openSqliteStore({ ...options, memory }),
    clock: options.clock,
    logger: options.logger,
  });
