export { replaceDatabase, readReplaced, type LostRecord } from './sqlite/backup.ts';
export type * from './approval-contract.ts';
export type * from './contract.ts';
export { openSqliteStore, type SqliteStoreOptions } from './sqlite/open.ts';
