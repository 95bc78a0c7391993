import { PkiError } from '../../common/errors/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
import { loggedObject, type Delegation, type DelegationProfile } from '../../domain/index.ts';
import type { DelegationStore } from '../ports/index.ts';
import type { DelegationTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { flag, fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

export function createDelegations(engine: Engine, audit: AuditWriter): DelegationStore {
  const { insert, byId, active, revoke } = delegationStatements(engine);
  const toDelegation = createDelegationReader();

  return {
    create: (delegation, event, signal) =>
      engine.write(() => {
        const row = toRow(delegation);
        insert.run(row);
        audit(event, loggedObject('delegation', toDelegation(row)));
      }, signal),
    byId: (id, signal) =>
      engine.read(() => {
        const row = byId.get({ id });
        return row === undefined ? undefined : toDelegation(row);
      }, signal),
    activeFor: (clientId, now) =>
      engine.look(() => active.all({ client_id: clientId, now }).map(toDelegation)),
    list: (filter, page) =>
      engine.read(() => {
        const size = pageSize(page);
        let query = builder
          .selectFrom('delegations')
          .selectAll()
          .where('id', '>', page.after ?? '')
          .orderBy('id')
          .limit(size + 1);
        if (!filter.includeRevoked) query = query.where('revoked_at', 'is', null);
        return toPage(engine.rows(query), size, toDelegation, (row) => row.id);
      }, page.signal),
    revoke: (id, now, event) =>
      engine.write(() => {
        const row = byId.get({ id });
        if (row === undefined) throw new PkiError('NOT_FOUND', `there is no delegation ${id}`);
        if (row.revoked_at !== null)
          throw new PkiError('CONFLICT', `delegation ${id} is already revoked`);
        revoke.run({ id, now });
        const revoked = toDelegation({ ...row, revoked_at: now });
        audit(event, loggedObject('delegation', revoked));
        return revoked;
      }),
  };
}

/** Reads rows, and caches their lists. */
export function createDelegationReader(): (row: DelegationTable) => Delegation {
  // control planes ask with each call, and there are few delegations
  const lists = new Map<string, Lists>();
  const listsOf = (row: DelegationTable): Lists => {
    const cached = lists.get(row.id);
    if (cached !== undefined && cached.text === listsText(row)) return cached;
    const parsed = parseLists(row);
    if (lists.size >= rememberedLists) lists.clear();
    lists.set(row.id, parsed);
    return parsed;
  };
  return (row) => ({
    id: row.id,
    clientId: row.client_id,
    patterns: listsOf(row).patterns,
    maxTtlSeconds: row.max_ttl_seconds,
    keyTypes: listsOf(row).keyTypes,
    dnsPatterns: listsOf(row).dnsPatterns,
    ipRanges: listsOf(row).ipRanges,
    wildcards: row.wildcards === 1,
    profile: row.profile as DelegationProfile,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    createdAt: row.created_at,
    createdBy: row.created_by,
  });
}

function delegationStatements(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof DelegationTable]: DelegationTable[Column] }>()(
      (query, slot) =>
        query.insertInto('delegations').values({
          id: slot('id'),
          client_id: slot('client_id'),
          patterns: slot('patterns'),
          max_ttl_seconds: slot('max_ttl_seconds'),
          key_types: slot('key_types'),
          dns_patterns: slot('dns_patterns'),
          ip_ranges: slot('ip_ranges'),
          wildcards: slot('wildcards'),
          profile: slot('profile'),
          expires_at: slot('expires_at'),
          revoked_at: slot('revoked_at'),
          created_at: slot('created_at'),
          created_by: slot('created_by'),
        }),
    ),
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('delegations').selectAll().where('id', '=', slot('id')),
    ),
    active: engine.statement<{ client_id: string; now: number }>()((query, slot) =>
      query
        .selectFrom('delegations')
        .selectAll()
        .where('client_id', '=', slot('client_id'))
        .where('revoked_at', 'is', null)
        .where((eb) => eb.or([eb('expires_at', '=', 0), eb('expires_at', '>', slot('now'))]))
        .orderBy('id'),
    ),
    revoke: engine.statement<{ id: string; now: number }>()((query, slot) =>
      query
        .updateTable('delegations')
        .set({ revoked_at: slot('now') })
        .where('id', '=', slot('id')),
    ),
  };
}

const toRow = (delegation: Delegation): DelegationTable => ({
  id: delegation.id,
  client_id: delegation.clientId,
  patterns: JSON.stringify(delegation.patterns),
  max_ttl_seconds: delegation.maxTtlSeconds,
  key_types: JSON.stringify(delegation.keyTypes),
  dns_patterns: JSON.stringify(delegation.dnsPatterns),
  ip_ranges: JSON.stringify(delegation.ipRanges),
  wildcards: flag(delegation.wildcards),
  profile: delegation.profile,
  expires_at: delegation.expiresAt,
  revoked_at: delegation.revokedAt,
  created_at: delegation.createdAt,
  created_by: delegation.createdBy,
});

const rememberedLists = 1000;

interface Lists {
  /** The columns from which they were read. */
  readonly text: string;
  readonly patterns: readonly string[];
  readonly keyTypes: readonly KeyType[];
  readonly dnsPatterns: readonly string[];
  readonly ipRanges: readonly string[];
}

const listsText = (row: DelegationTable): string =>
  `${row.patterns}\n${row.key_types}\n${row.dns_patterns}\n${row.ip_ranges}`;

const parseLists = (row: DelegationTable): Lists => ({
  text: listsText(row),
  patterns: fromJson<readonly string[]>('delegations', row.patterns),
  keyTypes: fromJson<readonly KeyType[]>('delegations', row.key_types),
  dnsPatterns: fromJson<readonly string[]>('delegations', row.dns_patterns),
  ipRanges: fromJson<readonly string[]>('delegations', row.ip_ranges),
});
