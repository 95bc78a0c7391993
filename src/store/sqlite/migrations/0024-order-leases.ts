import type { Migration } from './migration.ts';

/** Which process attempts to issue an order of ACME, and until when. */
const sql = `
ALTER TABLE acme_orders ADD COLUMN lease_holder TEXT NOT NULL DEFAULT '';
ALTER TABLE acme_orders ADD COLUMN lease_expires_ms INTEGER NOT NULL DEFAULT 0;
`;

export const orderLeases: Migration = { version: 24, name: 'order-leases', sql };
