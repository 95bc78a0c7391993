import { PkiError } from '../../common/errors/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
import {
  deletedObject,
  loggedObject,
  type AcmeAccount,
  type AuditEvent,
  type ChallengeType,
  type EabKey,
  type EabKeySource,
  type NamesProfile,
} from '../../domain/index.ts';
import type { EabKeyTable } from '../acme-schema.ts';
import type { EabKeyStore, LogGuard } from '../ports/index.ts';
import type { WriteAcme } from './acme-write.ts';
import type { AuditWriter } from './audit.ts';
import { flag, loggedJson, loggedTexts } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder, type Slots } from './statement.ts';
import { requireVersionBefore } from './versions.ts';

interface EabKeyDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly write: WriteAcme;
}

/** Binds a `single` key to the account that is created with it, inside the caller's transaction. */
export type BindEabKey = (account: AcmeAccount, event: AuditEvent) => void;

interface EabKeyRows {
  readonly store: Omit<EabKeyStore, 'ends'>;
  readonly bind: BindEabKey;
}

export function createEabKeys(
  engine: Engine,
  { audit, guard, write }: EabKeyDependencies,
): EabKeyRows {
  const { byId, insert, update, remove } = eabKeyStatements(engine);
  const read = (id: string): EabKey | undefined => {
    const row = byId.get({ id });
    return row === undefined ? undefined : toEabKey(row);
  };
  const replace = (key: EabKey, event: AuditEvent): void => {
    update.run(toRow(key));
    audit(event, loggedObject('eab-key', key));
  };
  return {
    store: {
      byId: (id) => engine.read(() => read(id)),
      list: (filter, page) => engine.read(() => listed(engine, filter, page), page.signal),
      create: (key, options) =>
        write(options, () => {
          if (guard.requireRow('eab-key', key.id, read(key.id)) !== undefined)
            throw new PkiError('ALREADY_EXISTS', `there is a key ${key.id}`);
          insert.run(toRow(key));
          audit(options.event, loggedObject('eab-key', key));
        }),
      update: (key, options) =>
        write(options, () => {
          const present = guard.requireRow('eab-key', key.id, read(key.id));
          requireVersionBefore(key, present, `key ${key.id}`);
          replace(key, options.event);
        }),
      forget: (id, event) =>
        engine.write(() => {
          remove.run({ id });
          audit(event, deletedObject('eab-key', id));
        }),
    },
    bind: ({ id, eabKeyId }, event) => {
      const key = guard.requireRow('eab-key', eabKeyId, read(eabKeyId));
      if (key === undefined) throw new PkiError('EAB_KEY_ENDED', `there is no key ${eabKeyId}`);
      if (key.accounts === 'many') return;
      if (key.accountId !== null)
        throw new PkiError('EAB_KEY_ENDED', `the key ${eabKeyId} is bound to another account`);
      const detail = { account: id, tenant: key.tenant };
      replace(
        { ...key, accountId: id, version: key.version + 1 },
        { ...event, kind: 'eab-key.bound', subject: eabKeyId, detail },
      );
    },
  };
}

/** Reads a key for a right. */
export function eabKeyById(engine: Engine): (id: string) => EabKey | undefined {
  const { byId } = eabKeyStatements(engine);
  return (id) => {
    const row = byId.get({ id });
    return row === undefined ? undefined : toEabKey(row);
  };
}

function listed(
  engine: Engine,
  { tenant, includeEnded, now }: Parameters<EabKeyStore['list']>[0],
  page: Parameters<EabKeyStore['list']>[1],
): Awaited<ReturnType<EabKeyStore['list']>> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('eab_keys')
    .selectAll()
    .where('id', '>', page.after ?? '')
    .orderBy('id')
    .limit(size + 1);
  if (tenant !== undefined) query = query.where('tenant', '=', tenant);
  if (!includeEnded)
    query = query
      .where('revoked_at', 'is', null)
      .where((has) => has.or([has('expires_at', '=', 0), has('expires_at', '>', now)]));
  return toPage(engine.rows(query), size, toEabKey, ({ id }) => id);
}

type Row = { [Column in keyof EabKeyTable]: EabKeyTable[Column] };

/** Every column but the key: what an insertion and a change write. */
const contentOf = (slot: Slots<Row>) => ({
  tenant: slot('tenant'),
  description: slot('description'),
  dns_patterns: slot('dns_patterns'),
  ip_ranges: slot('ip_ranges'),
  wildcards: slot('wildcards'),
  profiles: slot('profiles'),
  ttl_seconds: slot('ttl_seconds'),
  key_types: slot('key_types'),
  proof: slot('proof'),
  challenge_types: slot('challenge_types'),
  accounts: slot('accounts'),
  account_id: slot('account_id'),
  quota_certificates: slot('quota_certificates'),
  quota_seconds: slot('quota_seconds'),
  expires_at: slot('expires_at'),
  revoked_at: slot('revoked_at'),
  version: slot('version'),
  created_at: slot('created_at'),
  created_by: slot('created_by'),
  source: slot('source'),
});

function eabKeyStatements(engine: Engine) {
  return {
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('eab_keys').selectAll().where('id', '=', slot('id')),
    ),
    insert: engine.statement<Row>()((query, slot) =>
      query.insertInto('eab_keys').values({ id: slot('id'), ...contentOf(slot) }),
    ),
    update: engine.statement<Row>()((query, slot) =>
      query.updateTable('eab_keys').set(contentOf(slot)).where('id', '=', slot('id')),
    ),
    remove: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('eab_keys').where('id', '=', slot('id')),
    ),
  };
}

const toRow = (key: EabKey): EabKeyTable => ({
  id: key.id,
  tenant: key.tenant,
  description: key.description,
  dns_patterns: JSON.stringify(key.dnsPatterns),
  ip_ranges: JSON.stringify(key.ipRanges),
  wildcards: flag(key.wildcards),
  profiles: JSON.stringify(key.profiles),
  ttl_seconds: key.ttlSeconds,
  key_types: JSON.stringify(key.keyTypes),
  proof: key.proof,
  challenge_types: JSON.stringify(key.challengeTypes),
  accounts: key.accounts,
  account_id: key.accountId,
  quota_certificates: key.quotaCertificates,
  quota_seconds: key.quotaSeconds,
  expires_at: key.expiresAt,
  revoked_at: key.revokedAt,
  version: key.version,
  created_at: key.createdAt,
  created_by: key.createdBy,
  source: key.source === null ? null : JSON.stringify(key.source),
});

export const toEabKey = (row: EabKeyTable): EabKey => ({
  id: row.id,
  tenant: row.tenant,
  description: row.description,
  dnsPatterns: loggedTexts(row.dns_patterns),
  ipRanges: loggedTexts(row.ip_ranges),
  wildcards: row.wildcards === 1,
  profiles: loggedTexts<NamesProfile>(row.profiles),
  ttlSeconds: row.ttl_seconds,
  keyTypes: loggedTexts<KeyType>(row.key_types),
  proof: row.proof,
  challengeTypes: loggedTexts<ChallengeType>(row.challenge_types),
  accounts: row.accounts,
  accountId: row.account_id,
  quotaCertificates: row.quota_certificates,
  quotaSeconds: row.quota_seconds,
  expiresAt: row.expires_at,
  revokedAt: row.revoked_at,
  version: row.version,
  createdAt: row.created_at,
  createdBy: row.created_by,
  source:
    row.source === null
      ? null
      : (loggedJson<EabKeySource | object>(row.source, {}) as EabKeySource),
});
