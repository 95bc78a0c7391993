import { checkQuota } from './quota-rules.ts';
import { PkiError, unwrap } from '../common/errors/index.ts';
import { isOneLine } from '../common/runtime/index.ts';
import { isReserved, parseDnsName, SpiffeId, type TrustDomain } from '../common/spiffe/index.ts';
import { reservationOf, reservedText, type ReservedDnsName } from './reserved-names.ts';
import type { NameOwners } from './name-owners.ts';
import type { Tenant, TenantNames } from './tenant.ts';

export interface TenantLimits {
  readonly trustDomain: TrustDomain;
  readonly reservedDnsNames: readonly ReservedDnsName[];
}

/** A tenant as an operator states it. */
export type TenantInput = Pick<
  Tenant,
  'name' | 'description' | 'dnsSuffixes' | 'spiffePrefixes' | 'quotaCertificates' | 'quotaSeconds'
>;

const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const maximumNames = 1000;
const maximumDescription = 500;

/**
 * The tenant in the form that may be stored: names sorted, each once.
 *
 * @throws PkiError INVALID_REQUEST, DNS_NAME_INVALID, DNS_NAME_RESERVED, SPIFFE_ID_INVALID,
 *   SPIFFE_ID_RESERVED, TRUST_DOMAIN_FOREIGN
 */
export function checkTenant(input: TenantInput, limits: TenantLimits): TenantInput {
  if (!namePattern.test(input.name))
    throw new PkiError(
      'INVALID_REQUEST',
      `tenant name ${JSON.stringify(input.name.slice(0, 80))} is invalid: it needs at most 64 ` +
        'characters of [a-z0-9-]',
    );
  if (input.description.length > maximumDescription || !isOneLine(input.description))
    throw new PkiError(
      'INVALID_REQUEST',
      `the description has control characters or more than ${maximumDescription} characters`,
    );
  if (input.dnsSuffixes.length + input.spiffePrefixes.length === 0)
    throw new PkiError(
      'INVALID_REQUEST',
      `the tenant ${input.name} has neither a DNS suffix nor a SPIFFE ID prefix: it would own nothing`,
    );
  if (input.dnsSuffixes.length + input.spiffePrefixes.length > maximumNames)
    throw new PkiError('INVALID_REQUEST', `a tenant has at most ${maximumNames} names`);
  checkQuota(input);
  const { name, description, quotaCertificates, quotaSeconds } = input;
  return {
    name,
    description,
    dnsSuffixes: sorted(input.dnsSuffixes.map((text) => checkSuffix(text, limits))),
    spiffePrefixes: sorted(input.spiffePrefixes.map((text) => checkPrefix(text, limits))),
    quotaCertificates,
    quotaSeconds,
  };
}

/** At least two labels: nobody owns a whole top-level domain. */
function checkSuffix(text: string, { reservedDnsNames }: TenantLimits): string {
  const suffix = unwrap(parseDnsName(text.toLowerCase()));
  if (!suffix.includes('.'))
    throw new PkiError(
      'DNS_NAME_INVALID',
      `the DNS suffix ${suffix} has one label; a tenant owns names of two labels or more`,
      { next: 'Write the suffix without a dot before it, such as shop.example.org.' },
    );
  const reservation = reservationOf(suffix, reservedDnsNames);
  if (reservation !== undefined)
    throw new PkiError('DNS_NAME_RESERVED', reservedText(suffix, reservation));
  return suffix;
}

function checkPrefix(text: string, { trustDomain }: TenantLimits): string {
  const invalid = (why: string): PkiError =>
    new PkiError('SPIFFE_ID_INVALID', `the prefix ${JSON.stringify(text.slice(0, 300))} ${why}`, {
      next: `Write it such as ${trustDomain.id}/team-a/: it covers every ID below.`,
    });
  if (!text.endsWith('/')) throw invalid('does not end in a slash');
  const id = unwrap(SpiffeId.parse(text.slice(0, -1)));
  if (!id.trustDomain.equals(trustDomain))
    throw new PkiError(
      'TRUST_DOMAIN_FOREIGN',
      `the prefix ${text} is not in the trust domain ${trustDomain.name}`,
    );
  if (id.path === '') throw invalid('names the whole trust domain, which belongs to nobody');
  if (isReserved(id))
    throw new PkiError('SPIFFE_ID_RESERVED', `the prefix ${text} is reserved for the CA`);
  return text;
}

/**
 * Roles, EAB keys, certificates and quotas on record mean a tenant by its name. So a name is never
 * given again.
 *
 * @throws PkiError ALREADY_EXISTS
 */
export function requireNewName({ name }: Pick<Tenant, 'name'>, owners: NameOwners): void {
  const before = owners.named(name);
  if (before === undefined) return;
  if (before.state !== 'deleted') throw new PkiError('ALREADY_EXISTS', `there is a tenant ${name}`);
  throw new PkiError(
    'ALREADY_EXISTS',
    `there was a tenant ${name}: roles, EAB keys and certificates on record mean that one`,
    { next: 'Choose another name for the tenant. Its DNS suffixes and prefixes are free.' },
  );
}

/**
 * @param mayKnow whether the reader of the error may know this other tenant
 * @throws PkiError TENANT_OVERLAPS
 */
export function requireDisjoint(
  tenant: TenantNames,
  owners: NameOwners,
  mayKnow: (tenant: string) => boolean = () => true,
): void {
  const overlap = owners.overlapOf(tenant);
  if (overlap === undefined) return;
  throw new PkiError(
    'TENANT_OVERLAPS',
    mayKnow(overlap.tenant)
      ? `the name ${overlap.own} overlaps with ${overlap.other}, which is of the tenant ${overlap.tenant}`
      : `the name ${overlap.own} overlaps with that of another tenant`,
  );
}

const sorted = (names: readonly string[]): readonly string[] => [...new Set(names)].sort();
