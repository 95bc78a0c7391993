import type { Migration } from './migration.ts';

/*
 * Each role has its members in its own row, to which the log commits. The second list beside it proved nothing.
 */
const sql = `
DROP TABLE role_members;
`;

export const rolesAlone: Migration = { version: 11, name: 'roles-alone', sql };
