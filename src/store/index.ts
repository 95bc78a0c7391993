export { replaceDatabase, readReplaced, type LostRecord } from './sqlite/backup.ts';
export type * from './ports/index.ts';
export { openSqliteStore, type SqliteStoreOptions } from './sqlite/open.ts';
