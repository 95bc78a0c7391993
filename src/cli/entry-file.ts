import type { Entry__Output } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { EntryFile } from './entry-file-schema.ts';

/** The shortest form of an entry in a file. */
export function entryFile(entry: Entry__Output): EntryFile {
  return {
    id: entry.id,
    spiffeId: entry.spiffeId,
    parentId: entry.parentId,
    selectors: entry.selectors,
    ...(entry.x509TtlSeconds === 0 ? {} : { x509Ttl: entry.x509TtlSeconds }),
    ...(entry.jwtTtlSeconds === 0 ? {} : { jwtTtl: entry.jwtTtlSeconds }),
    ...(entry.profile === 'short-lived' ? {} : { profile: entry.profile }),
    ...(entry.dnsNames.length === 0 ? {} : { dnsNames: entry.dnsNames }),
    ...(entry.ips.length === 0 ? {} : { ips: entry.ips }),
    ...(entry.hint === '' ? {} : { hint: entry.hint }),
    ...(entry.expiresAt === 0 ? {} : { expiresAt: new Date(entry.expiresAt * 1000).toISOString() }),
    ...(entry.admin ? { admin: true } : {}),
    ...(entry.downstream ? { downstream: true } : {}),
    ...(entry.allowWeakSelectors ? { allowWeakSelectors: true } : {}),
    ...(entry.federatesWith.length === 0 ? {} : { federatesWith: entry.federatesWith }),
    ...(entry.placeholders.length === 0
      ? {}
      : {
          placeholders: Object.fromEntries(
            entry.placeholders.map(({ placeholder, allowed }) => [placeholder, allowed]),
          ),
        }),
  };
}
