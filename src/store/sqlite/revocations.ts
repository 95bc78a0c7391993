import { PkiError } from '../../common/errors/index.ts';
import {
  loggedObject,
  raisesReason,
  revokedAtOnce,
  unlistedShard,
  type AuditEvent,
  type Revocation,
  type RevocationReason,
} from '../../domain/index.ts';
import type { LogGuard, RevocationOrder, RevocationStore } from '../ports/index.ts';
import type { CertificateTable, RevocationTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { createCrls } from './crls.ts';
import { fromHex, fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';

export interface RevocationDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly revisions: Revisions;
}
type RevocationStatements = ReturnType<typeof revocationStatements>;

export function createRevocations(
  engine: Engine,
  dependencies: RevocationDependencies,
): RevocationStore {
  const statements = revocationStatements(engine);
  const { certificate, page } = statements;
  const revoke = createRevoke(engine, statements, dependencies);
  const revokeOne = (order: RevocationOrder, event: AuditEvent): Revocation | undefined =>
    revoke(order.serial, {
      ...{ event, reason: order.reason },
      state: (serial) => stated(order, certificate.get({ serial })),
    });
  return {
    ...createCrls(engine, dependencies),
    revoke: (revocation, event) =>
      engine.write(() => {
        const revoked = revokeOne(revocation, event);
        if (revoked !== undefined) return revoked;
        throw new PkiError(
          'NOT_FOUND',
          `there is no certificate with the serial ${revocation.serial}`,
        );
      }),
    revokeMany: async (orders) => {
      if (orders.length > revokedAtOnce)
        throw new PkiError(
          'INVALID_REQUEST',
          `${orders.length} certificates can not be revoked in one transaction; at most ` +
            `${revokedAtOnce} can`,
        );
      return engine.write(() =>
        orders.map(({ revocation, event }) => revokeOne(revocation, event)),
      );
    },
    revokeAgain: (revocation, event) =>
      engine.write(
        () =>
          revoke(revocation.serial, {
            ...{ event, reason: revocation.reason },
            state: () => revocation,
          }) as Revocation,
      ),
    row: (serial) =>
      engine.read(() => {
        const key = fromHexOrUndefined(serial);
        return key === undefined ? undefined : rowOf(statements, key);
      }),
    page: (after, limit) =>
      engine.read(() =>
        page
          .all({ after: after === undefined ? Buffer.alloc(0) : Buffer.from(after, 'hex'), limit })
          .map(toRevocation),
      ),
  };
}

/** undefined: there is no such certificate, and the order states no place. */
function stated(
  { unlisted = false, place, ...revocation }: RevocationOrder,
  row: PlacedRow | undefined,
): Revocation | undefined {
  // the row may have been altered or taken away since it was proved
  const at = place ?? placeOf(row);
  if (at === undefined) return undefined;
  const { authorityId, notAfter, shard } = at;
  return { ...revocation, authorityId, notAfter, shard: unlisted ? unlistedShard : shard };
}

type PlacedRow = Pick<CertificateTable, 'authority_id' | 'not_after' | 'shard'>;

const placeOf = (row: PlacedRow | undefined): RevocationOrder['place'] =>
  row === undefined
    ? undefined
    : { authorityId: row.authority_id, notAfter: row.not_after, shard: row.shard };

/**
 * Inside the caller's transaction. `state` is called only if the log has no revocation of this
 * serial yet; undefined: there is no such certificate.
 */
type Revoke = (
  serialHex: string,
  act: {
    readonly event: AuditEvent;
    readonly reason: RevocationReason;
    readonly state: (serial: Buffer) => Revocation | undefined;
  },
) => Revocation | undefined;

function createRevoke(
  engine: Engine,
  statements: RevocationStatements,
  { audit, guard, revisions }: RevocationDependencies,
): Revoke {
  // revocations of the open transaction, which the log knows only after the commit
  const open = new Map<string, Revocation>();
  engine.afterCommit(() => open.clear());
  engine.onRollback(() => open.clear());

  const put = (row: RevocationTable & { readonly serial: Buffer }): void => {
    statements.drop.run({ serial: row.serial });
    statements.insert.run({ ...row });
  };
  return (serialHex, { event, reason, state }) => {
    const serial = fromHex(serialHex, 'the serial');
    const opened = open.get(serialHex);
    const known = opened ?? guard.revocation(serialHex);
    const isRaised = known !== undefined && raisesReason(known.reason, reason);
    if (known !== undefined && !isRaised) {
      const isRow =
        opened !== undefined || guard.sameRow('revocation', serialHex, rowOf(statements, serial));
      if (!isRow) put(toRow(known, serial));
      return known;
    }
    const revoked = isRaised ? { ...known, reason } : state(serial);
    if (revoked === undefined) return undefined;
    // replaces a row that somebody else may have put there
    put(toRow(revoked, serial));
    revisions.advance();
    const raised = isRaised ? raisedEvent(event, known.reason) : event;
    audit(revocationEvent(raised, serialHex, revoked), {
      ...loggedObject('revocation', { ...revoked, serial: hex(serial) }),
      id: serialHex,
    });
    open.set(serialHex, revoked);
    return revoked;
  };
}

/** The record of a compromise that became known later: who revoked it first stays on record. */
const raisedEvent = (event: AuditEvent, formerReason: RevocationReason): AuditEvent => ({
  ...event,
  kind: 'certificate.compromised',
  detail: { ...event.detail, formerReason },
});

/** The record holds the whole revocation, so that it stands without its row. */
function revocationEvent(event: AuditEvent, serial: string, revoked: Revocation): AuditEvent {
  const { authorityId: authority, reason, revokedAt, revokedBy, notAfter, shard } = revoked;
  return {
    ...event,
    detail: {
      ...{ ...event.detail, serial, authority, reason, revokedAt, revokedBy, notAfter },
      ...(shard === 0 ? {} : { shard }),
    },
  };
}

function rowOf({ bySerial }: RevocationStatements, serial: Buffer): Revocation | undefined {
  const row = bySerial.get({ serial });
  return row === undefined ? undefined : toRevocation(row);
}

function revocationStatements(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof RevocationTable]: RevocationTable[Column] }>()(
      (query, slot) =>
        query.insertInto('revocations').values({
          serial: slot('serial'),
          authority_id: slot('authority_id'),
          reason: slot('reason'),
          revoked_at: slot('revoked_at'),
          revoked_by: slot('revoked_by'),
          not_after: slot('not_after'),
          shard: slot('shard'),
        }),
    ),
    bySerial: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.selectFrom('revocations').selectAll().where('serial', '=', slot('serial')),
    ),
    certificate: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query
        .selectFrom('certificates')
        .select(['authority_id', 'not_after', 'shard'])
        .where('serial', '=', slot('serial')),
    ),
    page: engine.statement<{ after: Buffer; limit: number }>()((query, slot) =>
      query
        .selectFrom('revocations')
        .selectAll()
        .where('serial', '>', slot('after'))
        .orderBy('serial')
        .limit(slot('limit')),
    ),
    drop: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.deleteFrom('revocations').where('serial', '=', slot('serial')),
    ),
  };
}

const toRevocation = (row: RevocationTable): Revocation => ({
  serial: hex(row.serial),
  authorityId: row.authority_id,
  reason: row.reason as RevocationReason,
  revokedAt: row.revoked_at,
  revokedBy: row.revoked_by,
  notAfter: row.not_after,
  shard: row.shard,
});

const toRow = (
  revocation: Revocation,
  serial: Buffer,
): RevocationTable & { readonly serial: Buffer } => ({
  serial,
  authority_id: revocation.authorityId,
  reason: revocation.reason,
  revoked_at: revocation.revokedAt,
  revoked_by: revocation.revokedBy,
  not_after: revocation.notAfter,
  shard: revocation.shard,
});
