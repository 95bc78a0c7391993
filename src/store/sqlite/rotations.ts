import { PkiError } from '../../common/errors/index.ts';
import {
  loggedObject,
  type RotatedKind,
  type RotationOperation,
  type RotationSpec,
} from '../../domain/index.ts';
import type { LogGuard, RotationStore } from '../ports/index.ts';
import type { RotationTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import type { FenceCheck } from './leases.ts';
import { createLives } from './lives.ts';
import type { Revisions } from './meta.ts';
import { builder } from './statement.ts';

export interface RotationDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly revisions: Revisions;
}

export function createRotations(
  engine: Engine,
  { audit, guard, checkFence, revisions }: RotationDependencies,
): RotationStore {
  const { insert, byId, change } = rotationStatements(engine);
  const existing = (id: string): RotationTable => {
    const row = byId.get({ id });
    if (row === undefined) throw new PkiError('NOT_FOUND', `there is no rotation ${id}`);
    return row;
  };
  const stored = (id: string) => loggedObject('rotation', toOperation(existing(id)));
  return {
    create: (operation, event, { lease, signal } = {}) =>
      engine.write(() => {
        if (lease !== undefined) checkFence(lease);
        refuseSecond(engine, guard, operation.kind);
        insert.run(toRow(operation));
        revisions.advance();
        audit(event, stored(operation.id));
      }, signal),
    update: ({ id, version, now, lease }, { state, spec }, event, signal) =>
      engine.write(() => {
        if (lease !== undefined) checkFence(lease);
        const row = existing(id);
        guard.requireRow('rotation', id, toOperation(row));
        refuseUnlessUnderWay(row, version);
        change.run({
          id,
          state: state ?? row.state,
          spec: spec === undefined ? row.spec : JSON.stringify(spec),
          updated_at: now,
        });
        revisions.advance();
        audit(event, stored(id));
        return toOperation(existing(id));
      }, signal),
    byId: (id) =>
      engine.read(() => {
        const row = byId.get({ id });
        return row === undefined ? undefined : toOperation(row);
      }),
    list: ({ underWay }) => engine.read(() => listed(engine, underWay)),
    ...createLives(engine),
    recordClock: (state, event) =>
      engine.write(() =>
        audit({ ...event, detail: { ...event.detail, ...state } }, loggedObject('clock', state)),
      ),
  };
}

/**
 * One rotation of a kind at a time. A row of one that was altered or taken away hides none: what the
 * log has under way is asked for.
 */
function refuseSecond(engine: Engine, guard: LogGuard, kind: RotatedKind): void {
  const operationOf = (id: string): RotationOperation | undefined =>
    engine
      .rows(builder.selectFrom('rotations').selectAll().where('id', '=', id))
      .map(toOperation)[0];
  for (const { object, id, kind: of } of guard.living())
    if (object === 'rotation' && of === kind) guard.requireRow('rotation', id, operationOf(id));
  const [busy] = engine
    .rows(
      builder
        .selectFrom('rotations')
        .selectAll()
        .where('kind', '=', kind)
        .where('state', 'in', ['running', 'paused']),
    )
    .map(toOperation);
  if (busy !== undefined) guard.requireRow('rotation', busy.id, busy);
  if (busy !== undefined)
    throw new PkiError('CONFLICT', `a rotation of ${kind} authorities is under way (${busy.id})`, {
      next:
        '"meshca authority status" shows it and what it waits for. Let it finish, or end it: ' +
        '"meshca authority withdraw ID --reason TEXT" with the ID of its successor.',
    });
}

function refuseUnlessUnderWay(row: RotationTable, version: number): void {
  if (row.version !== version)
    throw new PkiError(
      'CONFLICT',
      `rotation ${row.id} is at version ${row.version}, not ${version}`,
    );
  if (row.state === 'done' || row.state === 'cancelled')
    throw new PkiError('CONFLICT', `rotation ${row.id} is ${row.state}`);
}

function listed(engine: Engine, underWay: boolean): readonly RotationOperation[] {
  let query = builder
    .selectFrom('rotations')
    .selectAll()
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(1000);
  if (underWay) query = query.where('state', 'in', ['running', 'paused']);
  return engine.rows(query).map(toOperation);
}

const toRow = (operation: RotationOperation): RotationTable => ({
  id: operation.id,
  kind: operation.kind,
  state: operation.state,
  version: operation.version,
  spec: JSON.stringify(operation.spec),
  created_by: operation.createdBy,
  created_at: operation.createdAt,
  updated_at: operation.updatedAt,
});

function rotationStatements(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof RotationTable]: RotationTable[Column] }>()(
      (query, slot) =>
        query.insertInto('rotations').values({
          id: slot('id'),
          kind: slot('kind'),
          state: slot('state'),
          version: slot('version'),
          spec: slot('spec'),
          created_by: slot('created_by'),
          created_at: slot('created_at'),
          updated_at: slot('updated_at'),
        }),
    ),
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('rotations').selectAll().where('id', '=', slot('id')),
    ),
    change: engine.statement<{
      id: string;
      state: string;
      spec: string;
      updated_at: number;
    }>()((query, slot) =>
      query
        .updateTable('rotations')
        .set((eb) => ({
          state: slot('state'),
          spec: slot('spec'),
          version: eb('version', '+', 1),
          updated_at: slot('updated_at'),
        }))
        .where('id', '=', slot('id')),
    ),
  };
}

const toOperation = (row: RotationTable): RotationOperation => ({
  id: row.id,
  kind: row.kind as RotatedKind,
  state: row.state as RotationOperation['state'],
  version: row.version,
  spec: fromJson<RotationSpec>('rotations', row.spec),
  createdBy: row.created_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});
