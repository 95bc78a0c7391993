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
  const { put, byName, remove } = roleStatements(engine);
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
