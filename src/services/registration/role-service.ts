import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  auditorGrant,
  auditorRole,
  checkRole,
  tenantOfScope,
  type Role,
} from '../../domain/index.ts';
import type { Page, PageRequest, RoleStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { Roles } from '../services.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage } from '../requests.ts';

export interface RoleDependencies {
  readonly roles: RoleStore;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

/**
 * Roles of admins. An admin who changes roles can give himself any role. Therefore a change
 * requires every right.
 */
export class RoleService implements Roles {
  readonly #dependencies: RoleDependencies;

  constructor(dependencies: RoleDependencies) {
    this.#dependencies = dependencies;
  }

  put(
    caller: OperatorCaller,
    role: {
      readonly name: string;
      readonly verbs: readonly string[];
      readonly prefixes: readonly string[];
      readonly members: readonly string[];
    },
    signal?: AbortSignal,
  ): Promise<Role> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'PutRole', subject: role.name.slice(0, 64) },
      async () => {
        (await this.#dependencies.access.of(caller)).requireEverything('changing roles');
        const { clock } = this.#dependencies;
        const checked = unwrap(checkRole(role, this.#dependencies.access.trustDomain));
        this.#requireTenants(checked);
        const now = clock.now();
        return this.#dependencies.roles.put(
          { ...checked, createdAt: now, updatedAt: now },
          {
            timeMs: clock.nowMs(),
            actor: actorOf(caller),
            kind: 'role.put',
            subject: checked.name,
            detail: { verbs: checked.verbs, prefixes: checked.prefixes, members: checked.members },
          },
          signal,
        );
      },
    );
  }

  /**
   * Of a tenant that is not there a scope would cover nothing, and nobody would see why.
   *
   * @throws PkiError NOT_FOUND
   */
  #requireTenants({ prefixes }: Pick<Role, 'prefixes'>): void {
    const { owners } = this.#dependencies.access;
    const missing = prefixes.find((scope) => {
      const name = tenantOfScope(scope);
      return name !== undefined && (owners.named(name)?.state ?? 'deleted') === 'deleted';
    });
    if (missing !== undefined)
      throw new PkiError('NOT_FOUND', `there is no tenant for the scope ${missing}`, {
        next: 'See "meshca tenant list", or make the tenant first (meshca tenant create).',
      });
  }

  list(caller: OperatorCaller, page: PageRequest): Promise<Page<Role>> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'ListRoles' }, async () => {
      const rights = await this.#dependencies.access.of(caller);
      rights.require('role.read', this.#dependencies.access.all);
      const checked = checkPage(page);
      const stored = await this.#dependencies.roles.list(checked);
      const grant = auditorGrant(this.#dependencies.access.trustDomain);
      const items = stored.items.map((role) =>
        role.name === auditorRole ? { ...role, ...grant } : role,
      );
      // the auditor role is shown even before it has members
      const last =
        stored.next === undefined &&
        !items.some(({ name }) => name === auditorRole) &&
        (await this.#auditorIsNew(checked));
      return {
        items: last
          ? [...items, { name: auditorRole, ...grant, members: [], createdAt: 0, updatedAt: 0 }]
          : items,
        next: stored.next,
      };
    });
  }

  delete(caller: OperatorCaller, name: string, signal?: AbortSignal): Promise<Role> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'DeleteRole', subject: name.slice(0, 64) },
      async () => {
        (await this.#dependencies.access.of(caller)).requireEverything('changing roles');
        if (name === auditorRole)
          throw new PkiError(
            'INVALID_REQUEST',
            'the role auditor always exists and can not be deleted: put it without members instead',
          );
        return this.#dependencies.roles.delete(
          name,
          {
            timeMs: this.#dependencies.clock.nowMs(),
            actor: actorOf(caller),
            kind: 'role.deleted',
            subject: name,
            detail: {},
          },
          signal,
        );
      },
    );
  }

  /**
   * Whether the auditor role is missing in the store. Asked only for the last page, and only if it
   * is not also the first one: the role may be on an earlier page.
   */
  async #auditorIsNew(page: PageRequest): Promise<boolean> {
    if (page.after === undefined) return true;
    for await (const roles of pagesOf((pageRequest) => this.#dependencies.roles.list(pageRequest)))
      if (roles.some(({ name }) => name === auditorRole)) return false;
    return true;
  }
}
