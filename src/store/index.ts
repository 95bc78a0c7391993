export type * from './contract.ts';
export { openSqliteStore, type SqliteStoreOptions } from './sqlite/open.ts';
