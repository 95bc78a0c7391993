import { sql } from 'kysely';
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
import type { Revisions } from './meta.ts';
import { builder } from './statement.ts';

export interface RotationParts {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly revisions: Revisions;
}

export function createRotations(
  engine: Engine,
  { audit, guard, checkFence, revisions }: RotationParts,
): RotationStore {
  const { insert, byId, change, setAnchor } = rotationStatements(engine);
  const existing = (id: string): RotationTable => {
    const row = byId.get({ id });
    if (row === undefined) throw new PkiError('NOT_FOUND', `there is no rotation ${id}`);
    return row;
  };
  const stored = (id: string) => loggedObject('rotation', toOperation(existing(id)));
  /** Holders that are agents tell of replacements and of what they hold. */
  const isAgent = sql<boolean>`holder IN (SELECT spiffe_id FROM agents)`;
  /**
   * What somebody else holds: leaves, and the certificates of CAs downstream, below which are
   * leaves that nobody here knows of. Not those of our own authorities, which have a life of their
   * own, nor one that was revoked: whoever trusts it still is not to be kept from the end.
   */
  const others = sql<boolean>`(certificates.kind <> 'authority' OR (certificates.holder <> 'server' AND (certificates.certificate_der IS NULL OR NOT EXISTS (SELECT 1 FROM authorities WHERE authorities.certificate_der = certificates.certificate_der)) AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.serial = certificates.serial)))`;
  const mayBeOut = () =>
    builder
      .selectFrom('certificates')
      .where('state', 'in', ['issued', 'abandoned', 'intent'])
      .where(others);
  const leavesOut = () => mayBeOut().where('kind', '<>', 'authority');

  return {
    create: (operation, event, lease) =>
      engine.write(() => {
        if (lease !== undefined) checkFence(lease);
        const busy = engine.rows(
          builder
            .selectFrom('rotations')
            .select('id')
            .where('kind', '=', operation.kind)
            .where('state', 'in', ['running', 'paused']),
        )[0];
        if (busy !== undefined)
          throw new PkiError('CONFLICT', `rotation ${busy.id} of this kind is under way`, {
            next: 'See "meshca authority status"; let it finish, or withdraw its successor first.',
          });
        insert.run({
          id: operation.id,
          kind: operation.kind,
          state: operation.state,
          version: operation.version,
          spec: JSON.stringify(operation.spec),
          created_by: operation.createdBy,
          created_at: operation.createdAt,
          updated_at: operation.updatedAt,
        });
        revisions.advance();
        audit(event, stored(operation.id));
      }),
    update: (id, version, { state, spec }, now, event, lease) =>
      engine.write(() => {
        if (lease !== undefined) checkFence(lease);
        const row = existing(id);
        guard.requireRow('rotation', id, toOperation(row));
        if (row.version !== version)
          throw new PkiError(
            'CONFLICT',
            `rotation ${id} is at version ${row.version}, not ${version}`,
          );
        if (row.state === 'done' || row.state === 'cancelled')
          throw new PkiError('CONFLICT', `rotation ${id} is ${row.state}`);
        change.run({
          id,
          state: state ?? row.state,
          spec: spec === undefined ? row.spec : JSON.stringify(spec),
          updated_at: now,
        });
        revisions.advance();
        audit(event, stored(id));
        return toOperation(existing(id));
      }),
    byId: (id) =>
      engine.read(() => {
        const row = byId.get({ id });
        return row === undefined ? undefined : toOperation(row);
      }),
    list: ({ underWay }) =>
      engine.read(() => {
        let query = builder
          .selectFrom('rotations')
          .selectAll()
          .orderBy('created_at', 'desc')
          .orderBy('id', 'desc')
          .limit(1000);
        if (underWay) query = query.where('state', 'in', ['running', 'paused']);
        return engine.rows(query).map(toOperation);
      }),
    signedBy: (now, marginSeconds) =>
      engine.read(() => {
        const found = new Map<
          string,
          { lastExpiry: number; live: number; liveUnreported: number }
        >();
        const expiries = mayBeOut()
          .select((eb) => ['authority_id', eb.fn.max<number>('not_after').as('last')])
          .where('not_after', '>=', now - marginSeconds)
          .groupBy('authority_id');
        for (const { authority_id: id, last } of engine.rows(expiries))
          found.set(id, { lastExpiry: last, live: 0, liveUnreported: 0 });
        const live = builder
          .selectFrom('certificates')
          .select((eb) => [
            'authority_id',
            eb.fn.countAll<number>().as('live'),
            sql<number>`sum(certificates.kind = 'authority' OR NOT ${isAgent})`.as('unreported'),
          ])
          .where('state', 'in', ['issued', 'abandoned'])
          .where(others)
          .where('not_after', '>=', now - marginSeconds)
          .where('replacement_confirmed_at', 'is', null)
          .groupBy('authority_id');
        for (const row of engine.rows(live)) {
          const facts = found.get(row.authority_id);
          if (facts !== undefined)
            Object.assign(facts, { live: row.live, liveUnreported: row.unreported });
        }
        for (const row of engine.rows(
          builder
            .selectFrom('authorities')
            .select(['id', 'highest_jwt_expiry'])
            .where('kind', '=', 'jwt'),
        )) {
          found.set(row.id, { lastExpiry: row.highest_jwt_expiry, live: 0, liveUnreported: 0 });
        }
        return found;
      }),
    lastNotAfterByHolder: (now) =>
      engine.read(
        () =>
          new Map(
            engine
              .rows(
                leavesOut()
                  .select((eb) => ['holder', eb.fn.max<number>('not_after').as('last')])
                  .where('not_after', '>=', now)
                  .groupBy('holder'),
              )
              .map(({ holder, last }) => [holder, last] as const),
          ),
      ),
    unheld: (since, now) =>
      engine.read(() => {
        const given = mayBeOut()
          .where('holder', '<>', 'server')
          .where('not_after', '>=', now)
          .where(sql<boolean>`NOT ${isAgent}`);
        const total =
          engine.rows(given.select((eb) => eb.fn.countAll<number>().as('count')))[0]?.count ?? 0;
        // what was made in the second of publication may not have had it
        const before = engine.rows(
          given
            .select((eb) => [
              eb.fn.countAll<number>().as('count'),
              eb.fn.max<number | null>('not_after').as('last'),
            ])
            .where('created_at_ms', '<=', (since + 1) * 1000),
        )[0];
        return { total, waiting: before?.count ?? 0, until: before?.last ?? 0 };
      }),
    reliedExpiry: (since, now) =>
      engine.read(
        () =>
          engine.rows(
            mayBeOut()
              .where('holder', '<>', 'server')
              .where('not_after', '>=', since)
              .where('not_after', '<', now)
              .where('created_at_ms', '<=', (since + 1) * 1000)
              .where(sql<boolean>`NOT ${isAgent}`)
              .select((eb) => eb.fn.max<number | null>('not_after').as('last')),
          )[0]?.last ?? 0,
      ),
    clockAnchor: () =>
      engine.read(() => {
        const row = engine.rows(builder.selectFrom('clock_anchor').selectAll())[0];
        return row === undefined
          ? undefined
          : { bootId: row.boot_id, uptimeMs: row.uptime_ms, wallMs: row.wall_ms };
      }),
    setClockAnchor: ({ bootId, uptimeMs, wallMs }) =>
      engine.write(
        () => void setAnchor.run({ boot_id: bootId, uptime_ms: uptimeMs, wall_ms: wallMs }),
      ),
  };
}

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
    setAnchor: engine.statement<{ boot_id: string; uptime_ms: number; wall_ms: number }>()(
      (query, slot) => {
        const anchor = {
          boot_id: slot('boot_id'),
          uptime_ms: slot('uptime_ms'),
          wall_ms: slot('wall_ms'),
        };
        return query
          .insertInto('clock_anchor')
          .values({ id: 1, ...anchor })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(anchor));
      },
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
