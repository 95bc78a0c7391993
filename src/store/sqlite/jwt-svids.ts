import { PkiError } from '../../common/errors/index.ts';
import type { JwtSvidRecord } from '../ports/index.ts';
import type { JwtSvidTable } from '../schema.ts';
import type { Engine } from './engine.ts';

/**
 * Statements for JWT-SVIDs and the highest expiry of their authorities. The writing ones run inside
 * the caller's transaction.
 */
export interface JwtWriter {
  insert(record: JwtSvidRecord): void;
  /** @throws PkiError NOT_FOUND */
  highestExpiry(authorityId: string): number;
  raiseExpiry(authorityId: string, expiresAt: number): void;
}

export function createJwtSvids(engine: Engine): JwtWriter {
  const insert = engine.statement<Omit<JwtSvidTable, 'sequence'>>()((query, slot) =>
    query.insertInto('jwt_svids').values({
      jti: slot('jti'),
      subject: slot('subject'),
      audience: slot('audience'),
      issued_at: slot('issued_at'),
      expires_at: slot('expires_at'),
      authority_id: slot('authority_id'),
      entry_id: slot('entry_id'),
      holder: slot('holder'),
    } as never),
  );
  const highest = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('authorities').select('highest_jwt_expiry').where('id', '=', slot('id')),
  );
  const raise = engine.statement<{ id: string; expiry: number }>()((query, slot) =>
    query
      .updateTable('authorities')
      .set({ highest_jwt_expiry: slot('expiry') })
      .where('id', '=', slot('id'))
      .where('highest_jwt_expiry', '<', slot('expiry')),
  );

  return {
    insert: (record) => {
      insert.run({
        jti: record.jti,
        subject: record.subject,
        audience: JSON.stringify(record.audience),
        issued_at: record.issuedAt,
        expires_at: record.expiresAt,
        authority_id: record.authorityId,
        entry_id: record.entryId,
        holder: record.holder,
      });
      // Also for a caller that did not raise it before the signature.
      raise.run({ id: record.authorityId, expiry: record.expiresAt });
    },
    highestExpiry: (authorityId) => {
      const row = highest.get({ id: authorityId });
      if (row === undefined)
        throw new PkiError('NOT_FOUND', `there is no authority ${authorityId}`);
      return row.highest_jwt_expiry;
    },
    raiseExpiry: (authorityId, expiresAt) => void raise.run({ id: authorityId, expiry: expiresAt }),
  };
}
