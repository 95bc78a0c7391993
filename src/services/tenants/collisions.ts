import { setImmediate as turn } from 'node:timers/promises';
import type { Result } from '../../common/errors/index.ts';
import {
  isDnsScope,
  judgeDelegationNames,
  judgeEntryNames,
  NameOwners,
  type NameOwner,
  type Role,
  type Tenant,
} from '../../domain/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { DelegationStore, EntryStore, RoleStore } from '../../store/ports/index.ts';
import type { TenantCollision } from './tenants.ts';

export interface CollisionDependencies {
  readonly entries: Pick<EntryStore, 'list'>;
  readonly delegations: Pick<DelegationStore, 'list'>;
  readonly roles: Pick<RoleStore, 'list'>;
}

const maximumListed = 100;

/**
 * What a new or changed tenant takes names from: entries, delegations and roles that are allowed by
 * the tenants before, and refused by those after. Other work goes on between the pages.
 */
export async function collisionsOf(
  { entries, delegations, roles }: CollisionDependencies,
  earlier: NameOwners,
  changed: Tenant,
): Promise<{ readonly collisions: readonly TenantCollision[]; readonly moreCollisions: number }> {
  const alone = new NameOwners<NameOwner>([changed]);
  let later: NameOwners | undefined;
  const found = new Collisions();
  const compare = (
    judged: (owners: NameOwners) => Result<unknown>,
    collision: Omit<TenantCollision, 'why'>,
  ): void => {
    // whom the tenant alone does not stop, it does not stop beside others
    if (judged(alone).ok || !judged(earlier).ok) return;
    later ??= new NameOwners([
      ...earlier.all().filter(({ name }) => name !== changed.name),
      changed,
    ]);
    const now = judged(later);
    if (!now.ok) found.add({ ...collision, why: now.error.message });
  };
  for await (const page of pagesOf((request) => entries.list({}, request))) {
    for (const entry of page)
      compare((owners) => judgeEntryNames(owners, entry), {
        kind: 'entry',
        id: entry.id,
        subject: entry.spiffeId,
      });
    await turn();
  }
  for await (const page of pagesOf((request) =>
    delegations.list({ includeRevoked: false }, request),
  ))
    for (const delegation of page)
      compare((owners) => judgeDelegationNames(owners, delegation), {
        kind: 'delegation',
        id: delegation.id,
        subject: delegation.clientId,
      });
  for await (const page of pagesOf((request) => roles.list(request)))
    for (const role of page)
      for (const scope of scopesInside(role, alone, changed)) found.add(scope);
  return { collisions: found.listed, moreCollisions: found.more };
}

/** DNS scopes of a role that lie in the names of a tenant no longer issue certificates for them. */
function scopesInside(
  { name, prefixes }: Role,
  owners: NameOwners,
  tenant: Tenant,
): readonly TenantCollision[] {
  return prefixes
    .filter(isDnsScope)
    .filter(
      (scope) =>
        owners.ofDnsName(scope.slice('dns:'.length).replace(/^\./, ''))?.name === tenant.name,
    )
    .map((scope) => ({
      kind: 'role' as const,
      id: name,
      subject: scope,
      why: `its members issue no certificate for these names without the scope tenant:${tenant.name}`,
    }));
}

class Collisions {
  readonly listed: TenantCollision[] = [];
  more = 0;

  add(collision: TenantCollision): void {
    if (this.listed.length < maximumListed) this.listed.push(collision);
    else this.more += 1;
  }
}
