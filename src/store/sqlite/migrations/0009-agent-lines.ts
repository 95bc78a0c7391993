import type { Migration } from './migration.ts';

/**
 * Which certificates of an agent lead to its newest one, where the record of the agent commits to
 * it.
 */
const sql = `
ALTER TABLE agents ADD COLUMN line TEXT NOT NULL DEFAULT '[]';
`;

export const agentLines: Migration = { version: 9, name: 'agent-lines', sql };
