import { PkiError } from '../../common/errors/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import {
  subjectNames,
  fixedPrefix,
  grantsOf,
  holdsEverything,
  permits,
  prefixesFor,
  verbs,
  wholeTrustDomain,
  withNamesOfTenants,
  withoutTenants,
  type Grant,
  type NameOwners,
  type Proven,
  type Role,
  type RegistrationEntry,
  type Target,
  type Verb,
} from '../../domain/index.ts';
import type { LedgerRoles } from '../../ledger/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { Caller, OperatorCaller } from './caller.ts';

/** The rights of an operator, read once per call. */
export class OperatorRights {
  readonly everything: boolean;
  readonly #grants: readonly Grant[];
  /** Without what scopes of tenants cover. */
  readonly #beyondTenants: readonly Grant[];

  private constructor(
    grants: readonly Grant[],
    beyondTenants: readonly Grant[],
    everything: boolean,
  ) {
    this.#grants = grants;
    this.#beyondTenants = beyondTenants;
    this.everything = everything;
  }

  /** Of whoever is admitted to the local socket. */
  static readonly local = new OperatorRights([], [], true);

  /** @param owners whose names the scopes of tenants cover */
  static ofRoles(
    roles: readonly Proven<Role>[],
    trustDomain: TrustDomain,
    owners: NameOwners,
  ): OperatorRights {
    const grants = grantsOf(roles, trustDomain);
    return new OperatorRights(
      withNamesOfTenants(grants, owners),
      withoutTenants(grants),
      holdsEverything(grants, trustDomain),
    );
  }

  /** Whether the operator has any right at all. */
  get any(): boolean {
    return this.everything || this.#grants.length > 0;
  }

  permits(verb: Verb, target: Target): boolean {
    return this.everything || permits(this.#grants, verb, target);
  }

  /** Whether a role has the verb on more than tenants. */
  permitsBeyondTenants(verb: Verb): boolean {
    return this.everything || permits(this.#beyondTenants, verb, { kind: 'none' });
  }

  /** Whether the operator may know that there is a tenant of this name: by any verb on it. */
  knowsTenant(name: string): boolean {
    return verbs.some((verb) => this.permits(verb, { kind: 'tenant', name }));
  }

  /** @throws PkiError ROLE_MISSING */
  require(verb: Verb, target: Target): void {
    if (!this.permits(verb, target))
      throw new PkiError(
        'ROLE_MISSING',
        `this needs a role with the verb ${verb}${describe(target)}`,
      );
  }

  requireEverything(act: string): void {
    if (!this.everything)
      throw new PkiError(
        'ROLE_MISSING',
        `${act} needs a role with the verb * on the whole trust domain, or the local socket`,
      );
  }

  /** Prefixes on which the operator has the verb; undefined: all. */
  prefixes(verb: Verb): readonly string[] | undefined {
    return this.everything ? undefined : prefixesFor(this.#grants, verb);
  }
}

/**
 * Finds the rights of an operator. A local caller has every right (the socket admits only few
 * uids). An admin has the rights of his roles.
 */
export class Access {
  readonly #roles: Pick<LedgerRoles, 'forMember'>;
  readonly trustDomain: TrustDomain;
  readonly #owners: () => NameOwners;

  constructor(
    roles: Pick<LedgerRoles, 'forMember'>,
    trustDomain: TrustDomain,
    owners: () => NameOwners,
  ) {
    this.#roles = roles;
    this.trustDomain = trustDomain;
    this.#owners = owners;
  }

  /**
   * @throws PkiError CALLER_NOT_ADMITTED for any other class, whatever the front admitted;
   *   OBJECT_NOT_IN_LOG for a role that was changed past the log
   */
  async of(caller: OperatorCaller): Promise<OperatorRights> {
    const actual = caller as Caller;
    if (actual.class === 'local') return OperatorRights.local;
    if (actual.class !== 'admin')
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `only admin and local callers may do this, not ${actual.class} callers`,
      );
    const roles = await this.#roles.forMember(actual.spiffeId);
    return OperatorRights.ofRoles(roles, this.trustDomain, this.#owners());
  }

  /** The tenants in force, for who may have which name. */
  get owners(): NameOwners {
    return this.#owners();
  }

  /** The whole trust domain as a target. */
  get all(): Target {
    return { kind: 'below', prefix: wholeTrustDomain(this.trustDomain) };
  }
}

/** The target of an entry: its ID, or all IDs that its template can give. */
export const targetOf = (entry: Pick<RegistrationEntry, 'spiffeId'>): Target =>
  /[{}]/.test(entry.spiffeId)
    ? { kind: 'below', prefix: fixedPrefix(entry.spiffeId) }
    : { kind: 'id', spiffeId: entry.spiffeId };

const scannedPages = 20;

/**
 * One page of what the caller may see. The page of the store is filtered, and its keys are kept.
 * Therefore a page may be shorter than requested, and even be empty with a `next`.
 */
export async function visiblePage<T>(
  fetch: (page: PageRequest) => Promise<Page<T>>,
  visible: (item: T) => boolean,
  request: PageRequest,
): Promise<Page<T>> {
  let page = await fetch(request);
  for (let scanned = 1; ; scanned += 1) {
    const items = page.items.filter(visible);
    if (items.length > 0 || page.next === undefined || scanned === scannedPages)
      return { items, next: page.next };
    page = await fetch({ ...request, after: page.next });
  }
}

function describe(target: Target): string {
  if (target.kind === 'none') return '';
  if (target.kind === 'names') return ` on ${subjectNames(target.subject).join(', ')}`;
  if (target.kind === 'tenant') return ` on the tenant ${target.name}`;
  return target.kind === 'id' ? ` on ${target.spiffeId}` : ` on all of ${target.prefix}`;
}
