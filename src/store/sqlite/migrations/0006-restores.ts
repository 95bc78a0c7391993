import type { Migration } from './migration.ts';

/*
 * The acceptance of a restored database is a record of the log, under its new origin. This table
 * was never written.
 */
export const restores: Migration = { version: 6, name: 'restores', sql: 'DROP TABLE restores;' };
