import { createHash } from 'node:crypto';
import type { Selector } from '../../common/spiffe/index.ts';
import {
  selectorList,
  type EntryDraft,
  type EntryProfile,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { EntryTable } from '../schema.ts';
import { flag, fromJson } from './codec.ts';

type Stamp = Pick<
  EntryTable,
  'revision' | 'created_at' | 'updated_at' | 'created_by' | 'created_order'
>;

const toSelector = (text: string): Selector => {
  const colon = text.indexOf(':');
  return { type: text.slice(0, colon), value: text.slice(colon + 1) };
};

export function toEntryRow(draft: EntryDraft, stamp: Stamp): EntryTable {
  const selectors = selectorList(draft.selectors);
  const text = JSON.stringify(selectors);
  return {
    id: draft.id,
    spiffe_id: draft.spiffeId,
    is_template: flag(draft.isTemplate),
    placeholders: JSON.stringify(draft.placeholders),
    parent_id: draft.parentId,
    selectors: text,
    selectors_sha256: createHash('sha256').update(text).digest(),
    x509_ttl_seconds: draft.x509TtlSeconds,
    jwt_ttl_seconds: draft.jwtTtlSeconds,
    profile: draft.profile,
    dns_names: JSON.stringify(draft.dnsNames),
    hint: draft.hint,
    expires_at: draft.expiresAt,
    admin: flag(draft.admin),
    downstream: flag(draft.downstream),
    allow_weak_selectors: flag(draft.allowWeakSelectors),
    federates_with: JSON.stringify(draft.federatesWith),
    ips: JSON.stringify(draft.ips),
    ...stamp,
  };
}

export const toEntry = (row: EntryTable): RegistrationEntry => ({
  id: row.id,
  spiffeId: row.spiffe_id,
  isTemplate: row.is_template === 1,
  placeholders: fromJson<Readonly<Record<string, readonly string[]>>>('entries', row.placeholders),
  parentId: row.parent_id,
  selectors: fromJson<readonly string[]>('entries', row.selectors).map(toSelector),
  x509TtlSeconds: row.x509_ttl_seconds,
  jwtTtlSeconds: row.jwt_ttl_seconds,
  profile: row.profile as EntryProfile,
  dnsNames: fromJson<readonly string[]>('entries', row.dns_names),
  hint: row.hint,
  expiresAt: row.expires_at,
  admin: row.admin === 1,
  downstream: row.downstream === 1,
  allowWeakSelectors: row.allow_weak_selectors === 1,
  federatesWith: fromJson<readonly string[]>('entries', row.federates_with),
  ips: fromJson<readonly string[]>('entries', row.ips),
  revision: row.revision,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  createdBy: row.created_by,
  createdOrder: row.created_order,
});
