import { PkiError } from '../../common/errors/index.ts';
import type { Revocation, RevocationReason } from '../../domain/index.ts';
import type { RevocationStore } from '../revocation-contract.ts';
import type { CrlTable, RevocationTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromHex, fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';
import { builder } from './statement.ts';

export function createRevocations(engine: Engine, { audit, revisions }: { readonly audit: AuditWriter; readonly revisions: Revisions }): RevocationStore {
  const insert = engine.statement<{ [Column in keyof RevocationTable]: RevocationTable[Column] }>()((query, slot) =>
    query.insertInto('revocations').values({
      serial: slot('serial'), authority_id: slot('authority_id'), reason: slot('reason'), revoked_at: slot('revoked_at'), revoked_by: slot('revoked_by'), not_after: slot('not_after'),
    }));
  const bySerial = engine.statement<{ serial: Buffer }>()((query, slot) => query.selectFrom('revocations').selectAll().where('serial', '=', slot('serial')));
  const certificate = engine.statement<{ serial: Buffer }>()((query, slot) => query.selectFrom('certificates').select(['authority_id', 'not_after']).where('serial', '=', slot('serial')));
  const crlOf = engine.statement<{ authority_id: string }>()((query, slot) => query.selectFrom('crls').select('number').where('authority_id', '=', slot('authority_id')));
  const putCrl = engine.statement<{ [Column in keyof CrlTable]: CrlTable[Column] }>()((query, slot) => {
    const values = { number: slot('number'), this_update: slot('this_update'), next_update: slot('next_update'), der: slot('der') };
    return query.insertInto('crls').values({ authority_id: slot('authority_id'), ...values }).onConflict((conflict) => conflict.column('authority_id').doUpdateSet(values));
  });

  return {
    revoke: (revocation, event) => engine.write(() => {
      const serial = fromHex(revocation.serial, 'the serial');
      const known = bySerial.get({ serial });
      if (known !== undefined) return toRevocation(known);
      const row = certificate.get({ serial });
      if (row === undefined) throw new PkiError('NOT_FOUND', `there is no certificate with the serial ${revocation.serial}`);
      insert.run({ serial, authority_id: row.authority_id, reason: revocation.reason, revoked_at: revocation.revokedAt, revoked_by: revocation.revokedBy, not_after: row.not_after });
      revisions.advance();
      audit(event);
      return { ...revocation, authorityId: row.authority_id, notAfter: row.not_after };
    }),
    bySerial: (serial) => engine.read(() => {
      const key = fromHexOrUndefined(serial);
      const row = key === undefined ? undefined : bySerial.get({ serial: key });
      return row === undefined ? undefined : toRevocation(row);
    }),
    list: (authorityId, endingFrom) => engine.read(() => engine.rows(builder.selectFrom('revocations').selectAll().where('authority_id', '=', authorityId)
      .where('not_after', '>=', endingFrom).orderBy('revoked_at').orderBy('serial')).map(toRevocation)),
    saveCrl: (crl, event) => engine.write(() => {
      const present = crlOf.get({ authority_id: crl.authorityId });
      if (present !== undefined && present.number >= crl.number) throw new PkiError('CONFLICT', `the CRL of authority ${crl.authorityId} has number ${present.number} already`);
      putCrl.run({ authority_id: crl.authorityId, number: crl.number, this_update: crl.thisUpdate, next_update: crl.nextUpdate, der: crl.der });
      revisions.advance();
      audit(event);
    }),
    crls: () => engine.read(() => engine.rows(builder.selectFrom('crls').selectAll().orderBy('authority_id')).map((row) => ({
      authorityId: row.authority_id, number: row.number, thisUpdate: row.this_update, nextUpdate: row.next_update, der: bytes(row.der),
    }))),
  };
}

const toRevocation = (row: RevocationTable): Revocation => ({
  serial: hex(row.serial), authorityId: row.authority_id, reason: row.reason as RevocationReason, revokedAt: row.revoked_at, revokedBy: row.revoked_by, notAfter: row.not_after,
});
