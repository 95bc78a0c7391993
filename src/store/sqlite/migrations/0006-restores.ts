import type { Migration } from './migration.ts';

/* An acceptance of a restored database is a record of the log, under its new origin; the table for it was never written. */
export const restores: Migration = { version: 6, name: 'restores', sql: 'DROP TABLE restores;' };
