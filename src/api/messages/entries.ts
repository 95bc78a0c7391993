import type { Entry, Entry__Output } from '../../common/wire/generated/meshca/admin/v1/Entry.ts';
import { entryProfiles, type RegistrationEntry } from '../../domain/index.ts';
import type { EntryInput } from '../../services/services.ts';
import { oneOf, selectorsFromText, selectorTexts } from './common.ts';

export function entryInput(entry: Entry__Output): EntryInput {
  return {
    id: entry.id,
    spiffeId: entry.spiffeId,
    parentId: entry.parentId,
    selectors: selectorsFromText(entry.selectors),
    x509TtlSeconds: entry.x509TtlSeconds,
    jwtTtlSeconds: entry.jwtTtlSeconds,
    profile: oneOf('profile', entry.profile, entryProfiles, 'short-lived'),
    dnsNames: entry.dnsNames,
    ips: entry.ips,
    hint: entry.hint,
    expiresAt: entry.expiresAt,
    admin: entry.admin,
    downstream: entry.downstream,
    allowWeakSelectors: entry.allowWeakSelectors,
    federatesWith: entry.federatesWith,
    placeholders: Object.fromEntries(
      entry.placeholders.map(({ placeholder, allowed }) => [placeholder, allowed]),
    ),
  };
}

export function entryMessage(entry: RegistrationEntry): Entry {
  return {
    id: entry.id,
    spiffeId: entry.spiffeId,
    parentId: entry.parentId,
    selectors: selectorTexts(entry.selectors),
    x509TtlSeconds: entry.x509TtlSeconds,
    jwtTtlSeconds: entry.jwtTtlSeconds,
    profile: entry.profile,
    dnsNames: [...entry.dnsNames],
    ips: [...entry.ips],
    hint: entry.hint,
    expiresAt: entry.expiresAt,
    admin: entry.admin,
    downstream: entry.downstream,
    allowWeakSelectors: entry.allowWeakSelectors,
    federatesWith: [...entry.federatesWith],
    revision: entry.revision,
    createdAt: entry.createdAt,
    updatedAt: entry.updatedAt,
    createdBy: entry.createdBy,
    placeholders: placeholderMessages(entry),
  };
}

export const placeholderMessages = (
  entry: RegistrationEntry,
): { placeholder: string; allowed: string[] }[] =>
  Object.entries(entry.placeholders).map(([placeholder, allowed]) => ({
    placeholder,
    allowed: [...allowed],
  }));
