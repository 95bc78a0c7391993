import { fail, ok, type Result } from '../common/errors/index.ts';
import type { Delegation } from './delegation.ts';
import { patternReach } from './delegation-rules.ts';
import type { EntryDraft } from './entry.ts';
import { namesOfEntry } from './entry-names.ts';
import { fixedPrefix } from './entry-rules.ts';
import { tenantOfNames } from './name-claims.ts';
import type { NameOwner, NameOwners } from './name-owners.ts';

type EntryNames = Pick<EntryDraft, 'spiffeId' | 'profile' | 'dnsNames' | 'ips'>;

/**
 * Whether the names of an entry are those of its tenant, or of nobody. Those of a template are
 * judged again for each SPIFFE ID that it gives. Fails with NAME_OF_OTHER_TENANT or TENANT_ENDED.
 */
export function judgeEntryNames(
  owners: NameOwners,
  entry: EntryNames,
): Result<NameOwner | undefined> {
  const { spiffeId, dnsNames } = entry;
  if (/[{}]/.test(spiffeId)) return judgeTemplate(owners, entry);
  return namesOfEntry(entry) === undefined
    ? tenantOfNames(owners, { spiffeId, dnsNames })
    : tenantOfNames(owners, { dnsNames, claim: { by: 'spiffe-id', id: spiffeId } });
}

function judgeTemplate(
  owners: NameOwners,
  { spiffeId, dnsNames }: EntryNames,
): Result<NameOwner | undefined> {
  const owner = owners.ofSpiffePrefix(fixedPrefix(spiffeId));
  const foreign = dnsNames.find((name) =>
    owners.reachedByDnsName(name).some((reached) => reached !== owner),
  );
  if (foreign !== undefined)
    return fail(
      'NAME_OF_OTHER_TENANT',
      `the name ${foreign} belongs to a tenant, and the template ${spiffeId} gives SPIFFE IDs ` +
        'that are not all of this tenant',
    );
  return owner !== undefined && owner.state !== 'active'
    ? tenantOfNames(owners, { spiffeId, dnsNames })
    : ok(owner);
}

type DelegationNames = Pick<Delegation, 'clientId' | 'patterns' | 'dnsPatterns'>;

/**
 * Whether a delegation could give what it states. A pattern may cover names of tenants beside
 * others: each name is judged when it is asked for. Fails with NAME_OF_OTHER_TENANT for a pattern
 * whose names are all of a tenant that the delegation can not be for, and with TENANT_ENDED.
 */
export function judgeDelegationNames(
  owners: NameOwners,
  { clientId, patterns, dnsPatterns }: DelegationNames,
): Result<NameOwner | undefined> {
  const client = tenantOfNames(owners, {
    dnsNames: [],
    claim: { by: 'spiffe-id', id: clientId },
  });
  if (!client.ok) return client;
  const reached =
    patterns.length === 0
      ? [client.value]
      : patterns.flatMap((pattern) => idsReached(owners, pattern));
  for (const pattern of dnsPatterns) {
    const owner = owners.ofDnsName(pattern);
    if (owner !== undefined && !reached.includes(owner))
      return fail(
        'NAME_OF_OTHER_TENANT',
        `the DNS pattern ${pattern} lies in names of a tenant, and ` +
          (patterns.length === 0
            ? `the client ${clientId} is not of this tenant`
            : 'no SPIFFE ID pattern of the delegation is of this tenant'),
      );
  }
  return client;
}

function idsReached(owners: NameOwners, pattern: string): readonly NameOwner[] {
  const { prefix, exact } = patternReach(pattern);
  if (!exact) return owners.reachedBySpiffePrefix(prefix);
  const owner = owners.ofSpiffeId(prefix);
  return owner === undefined ? [] : [owner];
}
