import type { Migration } from './migration.ts';

/*
 * What tells whether the clock is believed is a record of the log, and no row.
 */
export const clockInLog: Migration = {
  version: 12,
  name: 'clock-in-log',
  sql: 'DROP TABLE clock_anchor;',
};
