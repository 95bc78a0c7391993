import type { SyncEntry__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SyncEntry.ts';
import type { AgentEntry } from '../ports/entries.ts';

const noPlaceholders: ReadonlyMap<string, readonly string[]> = new Map();
const none: readonly string[] = [];

/** Shares empty parts, since most parts of 20,000 entries are empty. */
export const fromWire = (entry: SyncEntry__Output): AgentEntry => ({
  id: entry.id,
  revision: entry.revision,
  spiffeId: entry.spiffeId,
  selectors: entry.selectors,
  x509TtlSeconds: entry.x509TtlSeconds,
  jwtTtlSeconds: entry.jwtTtlSeconds,
  hint: entry.hint,
  profile: entry.profile,
  dnsNames: entry.dnsNames.length === 0 ? none : entry.dnsNames,
  ips: entry.ips.length === 0 ? none : entry.ips,
  expiresAt: entry.expiresAt,
  isTemplate: entry.isTemplate,
  placeholders:
    entry.placeholders.length === 0
      ? noPlaceholders
      : new Map(entry.placeholders.map(({ placeholder, allowed }) => [placeholder, allowed])),
  createdAt: entry.createdAt,
  createdOrder: entry.createdOrder,
  federatesWith: entry.federatesWith.length === 0 ? none : entry.federatesWith,
});
