import type { Migration } from './migration.ts';

/*
 * The last record under the seal that the same session made before. NULL: a seal of an older release, which names none.
 */
const sql = `
ALTER TABLE log_seals ADD COLUMN previous_sequence INTEGER;
`;

export const sealChain: Migration = { version: 10, name: 'seal-chain', sql };
