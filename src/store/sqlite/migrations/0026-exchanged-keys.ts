import type { Migration } from './migration.ts';

/** Which keys that were exchanged for tokens ended first. Few others end by themselves. */
const sql = `
CREATE INDEX eab_keys_exchanged ON eab_keys (expires_at, id) WHERE source IS NOT NULL;
`;

export const exchangedKeys: Migration = { version: 26, name: 'exchanged-keys', sql };
