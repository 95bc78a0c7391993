import type { Migration } from './migration.ts';

/** What an EAB key was exchanged for. */
const sql = `
ALTER TABLE eab_keys ADD COLUMN source TEXT;
`;

export const eabKeySources: Migration = { version: 23, name: 'eab-key-sources', sql };
