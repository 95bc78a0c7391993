import { PkiError } from '../../common/errors/index.ts';
import {
  loggedObject,
  type AuditEvent,
  type Revocation,
  type RevocationReason,
  type StoredCrl,
} from '../../domain/index.ts';
import type { LogGuard, RevocationStore } from '../ports/index.ts';
import type { CrlTable, RevocationTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromHex, fromHexOrUndefined, hex } from './codec.ts';
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
  const { certificate, crlRows, page } = statements;
  const revoke = createRevoke(engine, statements, dependencies);
  return {
    revoke: (revocation, event) =>
      revoke(revocation.serial, event, (serial) => {
        const of = certificate.get({ serial });
        if (of === undefined)
          throw new PkiError(
            'NOT_FOUND',
            `there is no certificate with the serial ${revocation.serial}`,
          );
        return { ...revocation, authorityId: of.authority_id, notAfter: of.not_after };
      }),
    revokeAgain: (revocation, event) => revoke(revocation.serial, event, () => revocation),
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
    saveCrl: (crl, event) => engine.write(() => saveCrl(statements, dependencies, crl, event)),
    crls: () => engine.read(() => crlRows.all({}).map(toCrl)),
  };
}

/** `state` is called only if the log has no revocation of this serial yet. */
type Revoke = (
  serialHex: string,
  event: AuditEvent,
  state: (serial: Buffer) => Revocation,
) => Promise<Revocation>;

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
  return (serialHex, event, state) =>
    engine.write(() => {
      const serial = fromHex(serialHex, 'the serial');
      const logged = guard.revocation(serialHex);
      if (logged !== undefined) {
        if (!guard.sameRow('revocation', serialHex, rowOf(statements, serial)))
          put(toRow(logged, serial));
        return logged;
      }
      const opened = open.get(serialHex);
      if (opened !== undefined) return opened;
      const revoked = state(serial);
      // replaces a row that somebody else may have put there
      put(toRow(revoked, serial));
      revisions.advance();
      audit(revocationEvent(event, serialHex, revoked), {
        ...loggedObject('revocation', { ...revoked, serial: hex(serial) }),
        id: serialHex,
      });
      open.set(serialHex, revoked);
      return revoked;
    });
}

/** The record holds the whole revocation, so that it stands without its row. */
function revocationEvent(event: AuditEvent, serial: string, revoked: Revocation): AuditEvent {
  const { authorityId: authority, reason, revokedAt, revokedBy, notAfter } = revoked;
  return {
    ...event,
    detail: { ...event.detail, serial, authority, reason, revokedAt, revokedBy, notAfter },
  };
}

function saveCrl(
  { putCrl }: RevocationStatements,
  { audit, guard, revisions }: RevocationDependencies,
  crl: StoredCrl,
  event: AuditEvent,
): void {
  const highest = guard.crlNumber(crl.authorityId);
  if (highest >= crl.number)
    throw new PkiError(
      'CONFLICT',
      `the CRL of authority ${crl.authorityId} already has number ${highest}`,
    );
  putCrl.run({
    authority_id: crl.authorityId,
    number: crl.number,
    this_update: crl.thisUpdate,
    next_update: crl.nextUpdate,
    der: crl.der,
  });
  revisions.advance();
  audit({ ...event, detail: { ...event.detail, number: crl.number } }, loggedObject('crl', crl));
}

function rowOf({ bySerial }: RevocationStatements, serial: Buffer): Revocation | undefined {
  const row = bySerial.get({ serial });
  return row === undefined ? undefined : toRevocation(row);
}

const toCrl = (row: CrlTable): StoredCrl => ({
  authorityId: row.authority_id,
  number: row.number,
  thisUpdate: row.this_update,
  nextUpdate: row.next_update,
  der: bytes(row.der),
});

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
        }),
    ),
    bySerial: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.selectFrom('revocations').selectAll().where('serial', '=', slot('serial')),
    ),
    certificate: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query
        .selectFrom('certificates')
        .select(['authority_id', 'not_after'])
        .where('serial', '=', slot('serial')),
    ),
    putCrl: engine.statement<{ [Column in keyof CrlTable]: CrlTable[Column] }>()((query, slot) => {
      const values = {
        number: slot('number'),
        this_update: slot('this_update'),
        next_update: slot('next_update'),
        der: slot('der'),
      };
      return query
        .insertInto('crls')
        .values({ authority_id: slot('authority_id'), ...values })
        .onConflict((conflict) => conflict.column('authority_id').doUpdateSet(values));
    }),
    crlRows: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('crls').selectAll().orderBy('authority_id'),
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
});
