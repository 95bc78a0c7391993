import type { Migration } from './migration.ts';

/**
 * The SVIDs of an agent's present session that still count. An agent of an older database has no
 * row until its next renewal or first use: then only its newest SVID counts.
 */
const sql = `
CREATE TABLE agent_lines (
  spiffe_id TEXT PRIMARY KEY REFERENCES agents (spiffe_id),
  svids TEXT NOT NULL,
  in_use TEXT,
  kept TEXT
) STRICT, WITHOUT ROWID;
`;

export const agentLines: Migration = { version: 9, name: 'agent-lines', sql };
