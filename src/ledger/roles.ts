import type { Proven, Role } from '../domain/index.ts';
import type { RoleStore } from '../store/ports/index.ts';
import { pagesOf } from '../store/pages.ts';
import { comparedRows } from './compared-rows.ts';
import type { Objects } from './objects.ts';

export interface LedgerRoles extends RoleStore {
  /**
   * The roles of an identity. Reads every role, so that a role that somebody altered or took away
   * is announced even where it names the identity no more.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG for an altered role that names the identity
   */
  forMember(spiffeId: string): Promise<readonly Proven<Role>[]>;
}

export function ledgerRoles(
  rows: RoleStore,
  objects: Pick<Objects, 'prove' | 'require' | 'newest' | 'announceMissing'>,
): LedgerRoles {
  const all = async (): Promise<readonly Role[]> => {
    const roles: Role[] = [];
    for await (const page of pagesOf((request) => rows.list(request))) roles.push(...page);
    return roles;
  };
  return {
    put: (role, event, signal) => rows.put(role, event, signal),
    delete: (name, event, signal) => rows.delete(name, event, signal),
    list: (page) => rows.list(page),
    forMember: async (spiffeId) => {
      let roles: readonly Role[] = [];
      await comparedRows(objects, 'role', async () => (roles = await all()));
      return roles
        .filter(({ members }) => members.includes(spiffeId))
        .map((role) => objects.require('role', role));
    },
  };
}
