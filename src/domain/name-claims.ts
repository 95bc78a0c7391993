import { fail, ok, type Result } from '../common/errors/index.ts';
import type { NameOwner, NameOwners } from './name-owners.ts';

/** Who asks for names, and so which tenant's names he may have. */
export type NameClaim =
  /** That of an entry, or of the client of a delegation. */
  | { readonly by: 'spiffe-id'; readonly id: string }
  /** A key of this tenant for ACME accounts. */
  | { readonly by: 'tenant'; readonly name: string }
  /** An operator: his roles over the tenant were checked. */
  | { readonly by: 'operator' };

export interface NamesAsk {
  /** That of the certificate or token. Absent: names alone. */
  readonly spiffeId?: string;
  /** In lower case, wildcards with `*.`. */
  readonly dnsNames: readonly string[];
  /** Absent: nobody's. */
  readonly claim?: NameClaim | undefined;
}

/**
 * The tenant of a certificate or token; undefined: nobody's. It has names of one tenant at most:
 * that of its SPIFFE ID, or without one that of whoever asks. A key of a tenant gets no name of
 * nobody: its patterns were judged by the suffixes of the tenant when it was made. Fails with
 * NAME_OF_OTHER_TENANT or TENANT_ENDED, which name no other tenant.
 */
export function tenantOfNames<T extends NameOwner>(
  owners: NameOwners<T>,
  { spiffeId, dnsNames, claim }: NamesAsk,
): Result<T | undefined> {
  if (owners.size === 0 && claim?.by !== 'tenant') return ok(undefined);
  const claiming = claimedBy(owners, claim, dnsNames);
  if (claim?.by === 'tenant' && (claiming === undefined || claiming.state === 'deleted'))
    return fail('TENANT_ENDED', `there is no tenant ${claim.name} any more`);
  const ofId = spiffeId === undefined ? undefined : owners.ofSpiffeId(spiffeId);
  const isForeign = claim?.by !== 'operator' && claiming !== undefined && claiming !== ofId;
  if (spiffeId !== undefined && ofId !== undefined && isForeign)
    return fail(
      'NAME_OF_OTHER_TENANT',
      `the SPIFFE ID ${spiffeId} belongs to another tenant than ${claimText(claim)}`,
    );
  const owner = spiffeId === undefined ? claiming : ofId;
  // a key outlives names that were taken from its tenant
  const lost =
    claim?.by === 'tenant'
      ? dnsNames.find((name) => owners.reachedByDnsName(name).length === 0)
      : undefined;
  if (lost !== undefined)
    return fail(
      'NAME_OF_OTHER_TENANT',
      `the name ${lost} does not belong to ${claimText(claim)}, or not any more`,
    );
  for (const name of dnsNames) {
    if (owners.reachedByDnsName(name).some((reached) => reached !== owner))
      return fail(
        'NAME_OF_OTHER_TENANT',
        `the name ${name} belongs to another tenant than ${spiffeId ?? claimText(claim)}`,
      );
  }
  const ended = [owner, claiming].find((each) => each !== undefined && each.state !== 'active');
  return ended === undefined ? ok(owner) : fail('TENANT_ENDED', tenantEndedText(ended.name));
}

export const tenantEndedText = (name: string): string =>
  `the tenant ${name} has ended: nothing is issued for its names`;

/** An operator acts for the owner of the first name that has one. */
function claimedBy<T extends NameOwner>(
  owners: NameOwners<T>,
  claim: NameClaim | undefined,
  dnsNames: readonly string[],
): T | undefined {
  if (claim?.by === 'tenant') return owners.named(claim.name);
  if (claim?.by === 'spiffe-id') return owners.ofSpiffeId(claim.id);
  if (claim?.by !== 'operator') return undefined;
  return dnsNames.map((name) => owners.reachedByDnsName(name)[0]).find((owner) => owner);
}

function claimText(claim: NameClaim | undefined): string {
  if (claim?.by === 'spiffe-id') return claim.id;
  if (claim?.by === 'tenant') return `the tenant ${claim.name}`;
  return claim === undefined ? 'whoever asks' : 'the other names of the request';
}
