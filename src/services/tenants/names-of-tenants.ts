import { PkiError } from '../../common/errors/index.ts';
import type { NameOwner, NameOwners, Verb } from '../../domain/index.ts';
import type { OperatorRights } from '../callers/access.ts';

/**
 * Names that a tenant owns are given by operators of that tenant, or who hold every right: a DNS
 * scope of a role may be older than the tenant.
 *
 * @throws PkiError NAME_OF_OTHER_TENANT
 */
export function requireOwnNames(
  rights: OperatorRights,
  verb: Verb,
  { owners, dnsNames }: { readonly owners: NameOwners; readonly dnsNames: readonly string[] },
): void {
  if (rights.everything) return;
  const foreign = dnsNames.find((name) =>
    owners
      .reachedByDnsName(name)
      .some((tenant) => !rights.permits(verb, { kind: 'tenant', name: tenant.name })),
  );
  if (foreign !== undefined)
    throw new PkiError(
      'NAME_OF_OTHER_TENANT',
      `the name ${foreign} belongs to a tenant over which no role of the caller has ${verb}`,
      { next: 'Use a role with the scope tenant:NAME of the tenant that owns the name.' },
    );
}

/**
 * Whether each of these names, or every name of each of these patterns (`*` is one label), is of a
 * tenant over which the operator has the verb.
 */
export const coversNamesOfTenants = (
  rights: OperatorRights,
  verb: Verb,
  { owners, dnsNames }: { readonly owners: NameOwners; readonly dnsNames: readonly string[] },
): boolean =>
  rights.everything ||
  dnsNames.every((name) => {
    const tenant = owners.ofDnsName(name);
    return tenant !== undefined && rights.permits(verb, { kind: 'tenant', name: tenant.name });
  });

/** @throws PkiError NOT_FOUND, also for a tenant that the caller may not know */
export function tenantNamed<T extends NameOwner>(
  rights: OperatorRights,
  owners: NameOwners<T>,
  name: string,
): T {
  const tenant = owners.named(name);
  if (tenant !== undefined && rights.knowsTenant(name)) return tenant;
  throw noTenant(name);
}

/** Also for a tenant that the caller may not know. */
export const noTenant = (name: string): PkiError =>
  new PkiError('NOT_FOUND', `there is no tenant ${JSON.stringify(name.slice(0, 64))}`, {
    next: 'See "meshca tenant list --all", or make one with "meshca tenant create".',
  });
