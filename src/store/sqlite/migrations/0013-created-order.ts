import type { Migration } from './migration.ts';

/*
 * The order in which entries were created. 0: an entry of an older release.
 */
const sql = `
ALTER TABLE entries ADD COLUMN created_order INTEGER NOT NULL DEFAULT 0;
`;

export const createdOrder: Migration = { version: 13, name: 'created-order', sql };
