import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { initial } from './migrations/0001-initial.ts';
import { log } from './migrations/0002-log.ts';
import { rotation } from './migrations/0003-rotation.ts';
import { revocation } from './migrations/0004-revocation.ts';
import { approvals } from './migrations/0005-approvals.ts';
import { restores } from './migrations/0006-restores.ts';
import { evidence } from './migrations/0007-evidence.ts';
import { snapshots } from './migrations/0008-snapshots.ts';
import { agentLines } from './migrations/0009-agent-lines.ts';
import { sealChain } from './migrations/0010-seal-chain.ts';
import { rolesAlone } from './migrations/0011-roles-alone.ts';
import { clockInLog } from './migrations/0012-clock-in-log.ts';
import { createdOrder } from './migrations/0013-created-order.ts';
import { tokenUses } from './migrations/0014-token-uses.ts';
import { issuancePolicies } from './migrations/0015-issuance-policies.ts';
import { namesAuthorities } from './migrations/0016-names-authorities.ts';
import { federation } from './migrations/0017-federation.ts';
import { blockedKeys } from './migrations/0018-blocked-keys.ts';
import { ocsp } from './migrations/0019-ocsp.ts';
import { names } from './migrations/0020-names.ts';
import { crlShards } from './migrations/0021-crl-shards.ts';
import { acme } from './migrations/0022-acme.ts';
import { eabKeySources } from './migrations/0023-eab-key-sources.ts';
import { orderLeases } from './migrations/0024-order-leases.ts';
import { certificateTenants } from './migrations/0025-certificate-tenants.ts';
import { exchangedKeys } from './migrations/0026-exchanged-keys.ts';
import { stateCheck } from './migrations/0027-state-check.ts';
import type { Migration } from './migrations/migration.ts';

export const migrations: readonly Migration[] = [
  initial,
  log,
  rotation,
  revocation,
  approvals,
  restores,
  evidence,
  snapshots,
  agentLines,
  sealChain,
  rolesAlone,
  clockInLog,
  createdOrder,
  tokenUses,
  issuancePolicies,
  namesAuthorities,
  federation,
  blockedKeys,
  ocsp,
  names,
  crlShards,
  acme,
  eabKeySources,
  orderLeases,
  certificateTenants,
  exchangedKeys,
  stateCheck,
];

/** `msca`: distinguishes databases of this product from others. */
const applicationId = 0x6d73_6361;

const checksum = (migration: Migration): string =>
  createHash('sha256').update(migration.sql).digest('hex');

/**
 * Brings the database to the newest schema, all steps in one transaction.
 *
 * @throws PkiError STORE_TOO_NEW, STORE_CORRUPT (a recorded checksum differs), STORE_FAILED (a
 *   database of another program)
 */
export function migrate(
  database: DatabaseSync,
  now: number,
  steps: readonly Migration[] = migrations,
): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    claimFile(database);
    const applied = appliedMigrations(database);
    const newest = steps.at(-1)?.version ?? 0;
    for (const row of applied) {
      if (row.version > newest) {
        throw new PkiError(
          'STORE_TOO_NEW',
          `the database has schema version ${row.version} (${row.name}), this release knows ${newest}`,
        );
      }
      const step = steps.find((candidate) => candidate.version === row.version);
      if (step === undefined || checksum(step) !== row.sha256) {
        throw new PkiError(
          'STORE_CORRUPT',
          `table migrations: the record of step ${row.version} (${row.name}) is not the one of this release`,
        );
      }
    }
    const done = new Set(applied.map((row) => row.version));
    const record = database.prepare(
      'INSERT INTO migrations (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)',
    );
    for (const step of steps) {
      if (done.has(step.version)) continue;
      take(database, step);
      record.run(step.version, step.name, checksum(step), now);
    }
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function take(database: DatabaseSync, { sql, editsSchema }: Migration): void {
  if (editsSchema !== true) {
    database.exec(sql);
    return;
  }
  database.enableDefensive(false);
  try {
    database.exec(sql);
  } finally {
    database.enableDefensive(true);
  }
}

function claimFile(database: DatabaseSync): void {
  const { application_id: applicationIdOfFile } = database
    .prepare('PRAGMA application_id')
    .get() as {
    application_id: number;
  };
  if (applicationIdOfFile === applicationId) return;
  const { tables } = database.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as {
    tables: number;
  };
  if (applicationIdOfFile !== 0 || tables > 0) {
    throw new PkiError('STORE_FAILED', 'the file is a database of another program', {
      next: 'Give the server a database file of its own.',
    });
  }
  database.exec(`PRAGMA application_id = ${applicationId}`);
  database.exec(
    'CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT ' +
      'NOT NULL, applied_at INTEGER NOT NULL) STRICT',
  );
}

function appliedMigrations(
  database: DatabaseSync,
): readonly { readonly version: number; readonly name: string; readonly sha256: string }[] {
  const rows = database
    .prepare('SELECT version, name, sha256 FROM migrations ORDER BY version')
    .all();
  return rows as unknown as readonly { version: number; name: string; sha256: string }[];
}
