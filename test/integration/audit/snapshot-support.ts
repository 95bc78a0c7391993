import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { logObjectDigest } from '../../../src/domain/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import {
  activeAuthority,
  by,
  creates,
  delegation,
  draft,
  event,
  issued,
  start,
} from '../../compliance/store/fixtures.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { logWorld, openLog, type LogWorld, type OpenedLog } from '../../support/log-world.ts';

interface Said {
  readonly why: string[];
  readonly alerts: string[];
}

/** Snapshots are made at each clean stop, and after every fifty records. */
export async function inWorld(
  work: (world: LogWorld, said: Said) => Promise<void>,
  trustDomain = 'mesh.test',
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-snapshot-'));
  const said: Said = { why: [], alerts: [] };
  const logger: Logger = {
    ...silentLogger,
    warn: (fields: object) => void ('why' in fields && said.why.push(String(fields.why))),
    error: (fields: object) =>
      void (
        'alert' in fields &&
        said.alerts.push(
          `${String('code' in fields && fields.code)} ${String('sequence' in fields ? fields.sequence : '')}`.trim(),
        )
      ),
    child: () => logger,
  };
  try {
    await work(
      logWorld(join(folder, 'meshca.db'), {
        trustDomain,
        logger,
        snapshots: { everyRecords: 50, atCloseRecords: 1 },
      }),
      said,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export const sql = <T>({ path }: LogWorld, work: (database: DatabaseSync) => T): T =>
  foreignSql(path, work);
export const exec = (world: LogWorld, text: string): void =>
  sql(world, (database) => database.exec(text));

export async function inStore(
  world: LogWorld,
  work: (opened: OpenedLog) => Promise<void>,
): Promise<void> {
  await using opened = await openLog(world);
  await work(opened);
}

export const failure = (world: LogWorld): Promise<PkiError> =>
  openLog(world).then(
    async (opened) => {
      await opened[Symbol.asyncDispose]();
      return assert.fail('it started');
    },
    (thrown: unknown) => PkiError.from(thrown),
  );

/** What the memory of the log says, as one digest. */
export async function memory({ store }: OpenedLog): Promise<string> {
  const copy = store.log.copyLedger();
  assert.ok(copy !== undefined);
  const hash = createHash('sha256');
  for (const part of copy.parts()) hash.update(part);
  return hash.digest('hex');
}

export const provenEntry = async (store: Ledger, id: string): Promise<boolean | 'absent'> => {
  const entry = (await store.entries.byIds([id]))[0];
  return entry === undefined ? 'absent' : store.objects.prove('entry', entry) !== undefined;
};
export const records = (count: number) =>
  Array.from({ length: count }, (_, at) => event('a.b', `subject ${at}`));
export const basisOf = async ({ store }: OpenedLog): Promise<number | undefined> =>
  store.log.basis()?.size;

/**
 * Objects of many kinds, some deleted, some revoked; returns the ID of an entry, and of one that
 * was deleted later, both in the first snapshot.
 */
export async function lived(world: LogWorld): Promise<{
  readonly kept: string;
  readonly deleted: string;
  readonly serial: string;
  readonly authorityId: string;
}> {
  const [kept, deleted] = [
    draft({ spiffeId: 'spiffe://example.org/kept' }),
    draft({ spiffeId: 'spiffe://example.org/deleted' }),
  ];
  let serial = '';
  let authorityId = '';
  await inStore(world, async ({ store }) => {
    await store.entries.write([creates(kept), creates(deleted)], by);
    await store.delegations.create(delegation(), event('delegation.created'));
    authorityId = (await activeAuthority(store)).id;
    ({ serial } = await issued(store, authorityId));
    await store.revocations.revoke(
      { serial, reason: 'keyCompromise', revokedAt: start, revokedBy: 'uid:0' },
      event('certificate.revoked'),
    );
    await store.revocations.saveCrl(
      {
        authorityId,
        shard: 0,
        number: 7,
        thisUpdate: start,
        nextUpdate: start + 60,
        der: Buffer.from('crl'),
      },
      { ...event('crl.imported'), detail: { crlNumber: String(2n ** 80n) } },
    );
    await store.audit.append([
      event('certificate.issued', 'spiffe://example.org/leaf', {
        holder: 'spiffe://example.org/caller',
        authority: authorityId,
        notAfter: start + 3_600,
        serial: '5a01',
        certificateKind: 'delegated',
      }),
      ...records(20),
    ]);
  });
  return { kept: kept.id, deleted: deleted.id, serial, authorityId };
}

/** The row of an entry as an attacker wants it, and the digest that the log would need to have. */
export function takeOver(database: DatabaseSync, id: string): string {
  database
    .prepare(`UPDATE entries SET spiffe_id = 'spiffe://example.org/admin', admin = 1 WHERE id = ?`)
    .run(id);
  const row = database.prepare('SELECT * FROM entries WHERE id = ?').get(id) as Record<
    string,
    unknown
  >;
  return logObjectDigest(
    JSON.stringify([
      row['id'],
      row['spiffe_id'],
      row['is_template'],
      row['placeholders'],
      row['parent_id'],
      row['selectors'],
      row['x509_ttl_seconds'],
      row['jwt_ttl_seconds'],
      row['profile'],
      row['dns_names'],
      row['hint'],
      row['expires_at'],
      row['admin'],
      row['downstream'],
      row['allow_weak_selectors'],
      row['revision'],
      row['created_at'],
      row['updated_at'],
      row['created_by'],
    ]),
  );
}

/**
 * Writes another digest of an entry into the parts of the newest snapshot; returns the digest over
 * them.
 */
export function forgeParts(database: DatabaseSync, id: string, sha256: string): Buffer {
  const parts = database
    .prepare(
      'SELECT size, position, content FROM log_snapshot_parts WHERE size = (SELECT ' +
        'max(size) FROM log_snapshots) ORDER BY position',
    )
    .all() as { size: number; position: number; content: Uint8Array }[];
  const digest = createHash('sha256');
  for (const { size, position, content } of parts) {
    const items = JSON.parse(Buffer.from(content).toString()) as unknown[][];
    for (const item of items) if (item[1] === `entry ${id}`) item[2] = sha256;
    const changed = Buffer.from(JSON.stringify(items));
    database
      .prepare('UPDATE log_snapshot_parts SET content = ? WHERE size = ? AND position = ?')
      .run(changed, size, position);
    digest.update(createHash('sha256').update(changed).digest());
  }
  return digest.digest();
}
