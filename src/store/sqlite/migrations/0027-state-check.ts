import type { Migration } from './migration.ts';

/*
 * SQLite keeps a list of more than two constants in a temporary table, which it makes for each
 * statement that checks it: a tenth of what it costs to insert a certificate, and again to end it.
 * Comparisons need no table. ALTER TABLE can't change a check without a name, and a new table would
 * copy all certificates. Which states are allowed stays the same, so that no row has to be read
 * (https://www.sqlite.org/lang_altertable.html#otheralter).
 *
 * Intents are counted when somebody asks, so that their row of the counts says nothing.
 */
const sql = `
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(
    sql,
    'CHECK (state IN (''intent'', ''issued'', ''withheld'', ''refused'', ''abandoned''))',
    'CHECK (state = ''issued'' OR state = ''intent'' OR state = ''withheld'' OR state = ''refused'' OR state = ''abandoned'')'
  )
  WHERE type = 'table' AND name = 'certificates';
PRAGMA writable_schema = RESET;

DELETE FROM certificate_counts WHERE state = 'intent';
`;

export const stateCheck: Migration = { version: 27, name: 'state-check', sql, editsSchema: true };
