import { PkiError } from '../../common/errors/index.ts';
import type { AuditEvent, Revocation } from '../../domain/index.ts';
import type { RevocationStore } from '../ports/index.ts';
import type { CrlTable, RevocationTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromHex, fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import { rowText, type Ledger } from './ledger.ts';
import type { Revisions } from './meta.ts';

export function createRevocations(
  engine: Engine,
  {
    audit,
    ledger,
    revisions,
  }: { readonly audit: AuditWriter; readonly ledger: Ledger; readonly revisions: Revisions },
): RevocationStore {
  const insert = engine.statement<{ [Column in keyof RevocationTable]: RevocationTable[Column] }>()(
    (query, slot) =>
      query.insertInto('revocations').values({
        serial: slot('serial'),
        authority_id: slot('authority_id'),
        reason: slot('reason'),
        revoked_at: slot('revoked_at'),
        revoked_by: slot('revoked_by'),
        not_after: slot('not_after'),
      }),
  );
  const bySerial = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query.selectFrom('revocations').selectAll().where('serial', '=', slot('serial')),
  );
  const certificate = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query
      .selectFrom('certificates')
      .select(['authority_id', 'not_after'])
      .where('serial', '=', slot('serial')),
  );
  const putCrl = engine.statement<{ [Column in keyof CrlTable]: CrlTable[Column] }>()(
    (query, slot) => {
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
    },
  );

  const crlRows = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('crls').selectAll().orderBy('authority_id'),
  );
  const ofAuthority = engine.statement<{ authority_id: string; ending_from: number }>()(
    (query, slot) =>
      query
        .selectFrom('revocations')
        .selectAll()
        .where('authority_id', '=', slot('authority_id'))
        .where('not_after', '>=', slot('ending_from')),
  );
  const drop = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query.deleteFrom('revocations').where('serial', '=', slot('serial')),
  );

  // revocations of the open transaction, which the ledger learns of after its commit
  const open = new Map<string, Revocation>();
  engine.afterCommit(() => open.clear());
  engine.onRollback(() => open.clear());

  const put = (row: RevocationTable & { readonly serial: Buffer }): void => {
    drop.run({ serial: row.serial });
    insert.run({ ...row });
  };
  const same = (serial: string, row: RevocationTable | undefined): boolean =>
    ledger.sameRow('revocation', serial, row === undefined ? undefined : rowText.revocation(row));
  const sameCrl = (id: string, row: CrlTable | undefined): boolean =>
    ledger.sameRow('crl', id, row === undefined ? undefined : rowText.crl(row));

  const revoke = (
    serialHex: string,
    event: AuditEvent,
    state: (serial: Buffer) => Revocation,
  ): Promise<Revocation> =>
    engine.write(() => {
      const serial = fromHex(serialHex, 'the serial');
      const known = ledger.revoked.get(serialHex);
      if (known !== undefined) {
        if (!same(serialHex, bySerial.get({ serial }))) put(toRow(known, serial));
        return known;
      }
      const made = open.get(serialHex);
      if (made !== undefined) return made;
      const revoked = state(serial);
      const row = toRow(revoked, serial);
      // in the place of one that somebody else has put there
      put(row);
      revisions.advance();
      const { authorityId: authority, reason, revokedAt, revokedBy, notAfter } = revoked;
      // the record says it all, so that the revocation stands without its row
      audit(
        {
          ...event,
          detail: {
            ...event.detail,
            serial: serialHex,
            authority,
            reason,
            revokedAt,
            revokedBy,
            notAfter,
          },
        },
        { kind: 'revocation', id: serialHex, text: rowText.revocation(row) },
      );
      open.set(serialHex, revoked);
      return revoked;
    });

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
    revoked: (serial) => ledger.revoked.get(serial) !== undefined,
    bySerial: (serial) =>
      engine.read(() => {
        const key = fromHexOrUndefined(serial);
        if (key !== undefined) same(serial, bySerial.get({ serial: key }));
        return ledger.revoked.get(serial);
      }),
    list: (authorityId, endingFrom) =>
      engine.read(() => {
        const found = new Map(
          ofAuthority
            .all({ authority_id: authorityId, ending_from: endingFrom })
            .map((row) => [hex(row.serial), row]),
        );
        const listed = ledger.revoked.of(authorityId, endingFrom);
        for (const serial of new Set([...found.keys(), ...listed.map((each) => each.serial)]))
          same(serial, found.get(serial));
        return listed;
      }),
    saveCrl: (crl, event) =>
      engine.write(() => {
        const highest = ledger.revoked.crlNumber(crl.authorityId);
        if (highest >= crl.number)
          throw new PkiError(
            'CONFLICT',
            `the CRL of authority ${crl.authorityId} has number ${highest} already`,
          );
        const row = {
          authority_id: crl.authorityId,
          number: crl.number,
          this_update: crl.thisUpdate,
          next_update: crl.nextUpdate,
          der: crl.der,
        };
        putCrl.run(row);
        revisions.advance();
        audit(
          { ...event, detail: { ...event.detail, number: crl.number } },
          { kind: 'crl', id: crl.authorityId, text: rowText.crl(row) },
        );
      }),
    crls: () =>
      engine.read(() => {
        const rows = crlRows.all({});
        return rows
          .filter((row) => sameCrl(row.authority_id, row))
          .map((row) => ({
            authorityId: row.authority_id,
            number: row.number,
            thisUpdate: row.this_update,
            nextUpdate: row.next_update,
            der: bytes(row.der),
          }));
      }),
    highestCrlNumber: (authorityId) => engine.read(() => ledger.revoked.crlNumber(authorityId)),
    issuerCrlNumber: (authorityId) =>
      engine.read(() => ledger.revoked.issuerCrlNumber(authorityId)),
  };
}

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
