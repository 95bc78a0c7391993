import { PkiError } from '../../common/errors/index.ts';
import { deletedObject, loggedObject, type Role } from '../../domain/index.ts';
import type { RoleStore } from '../ports/index.ts';
import type { RoleTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

export function createRoles(engine: Engine, audit: AuditWriter): RoleStore {
  const { put, byName, remove, addMember, removeMembers, forMember } = roleStatements(engine);
  const existing = (name: string): Role => {
    const row = byName.get({ name });
    if (row === undefined) throw new PkiError('NOT_FOUND', `there is no role ${name}`);
    return toRole(row);
  };

  return {
    put: (role, event, signal) =>
      engine.write(() => {
        put.run({
          name: role.name,
          verbs: JSON.stringify(role.verbs),
          prefixes: JSON.stringify(role.prefixes),
          members: JSON.stringify(role.members),
          created_at: role.createdAt,
          updated_at: role.updatedAt,
        });
        removeMembers.run({ role: role.name });
        for (const member of new Set(role.members)) addMember.run({ member, role: role.name });
        const stored = existing(role.name);
        audit(event, loggedObject('role', stored));
        return stored;
      }, signal),
    delete: (name, event, signal) =>
      engine.write(() => {
        const role = existing(name);
        remove.run({ name });
        audit(event, deletedObject('role', name));
        return role;
      }, signal),
    forMember: (spiffeId) =>
      engine.read(() =>
        forMember
          .all({ member: spiffeId })
          .map(toRole)
          .filter((role) => role.members.includes(spiffeId)),
      ),
    list: (page) =>
      engine.read(() => {
        const size = pageSize(page);
        const query = builder
          .selectFrom('roles')
          .selectAll()
          .where('name', '>', page.after ?? '')
          .orderBy('name')
          .limit(size + 1);
        return toPage(engine.rows(query), size, toRole, (row) => row.name);
      }, page.signal),
  };
}

function roleStatements(engine: Engine) {
  return {
    put: engine.statement<{ [Column in keyof RoleTable]: RoleTable[Column] }>()((query, slot) =>
      query
        .insertInto('roles')
        .values({
          name: slot('name'),
          verbs: slot('verbs'),
          prefixes: slot('prefixes'),
          members: slot('members'),
          created_at: slot('created_at'),
          updated_at: slot('updated_at'),
        })
        .onConflict((conflict) =>
          conflict.column('name').doUpdateSet({
            verbs: slot('verbs'),
            prefixes: slot('prefixes'),
            members: slot('members'),
            updated_at: slot('updated_at'),
          }),
        ),
    ),
    byName: engine.statement<{ name: string }>()((query, slot) =>
      query.selectFrom('roles').selectAll().where('name', '=', slot('name')),
    ),
    remove: engine.statement<{ name: string }>()((query, slot) =>
      query.deleteFrom('roles').where('name', '=', slot('name')),
    ),
    addMember: engine.statement<{ member: string; role: string }>()((query, slot) =>
      query.insertInto('role_members').values({ member: slot('member'), role: slot('role') }),
    ),
    removeMembers: engine.statement<{ role: string }>()((query, slot) =>
      query.deleteFrom('role_members').where('role', '=', slot('role')),
    ),
    forMember: engine.statement<{ member: string }>()((query, slot) =>
      query
        .selectFrom('role_members')
        .innerJoin('roles', 'roles.name', 'role_members.role')
        .selectAll('roles')
        .where('role_members.member', '=', slot('member'))
        .orderBy('roles.name'),
    ),
  };
}

const toRole = (row: RoleTable): Role => ({
  name: row.name,
  verbs: fromJson<readonly string[]>('roles', row.verbs),
  prefixes: fromJson<readonly string[]>('roles', row.prefixes),
  members: fromJson<readonly string[]>('roles', row.members),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});
