import { PkiError } from '../../common/errors/index.ts';
import {
  crlId,
  deletedObject,
  loggedObject,
  type AuditEvent,
  type StoredCrl,
} from '../../domain/index.ts';
import type { CrlPlace, LogGuard, RevocationStore } from '../ports/index.ts';
import type { CrlTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';

export interface CrlDependencies {
  readonly audit: AuditWriter;
  readonly guard: Pick<LogGuard, 'crlNumber'>;
  readonly revisions: Revisions;
}

type CrlStatements = ReturnType<typeof crlStatements>;

export function createCrls(
  engine: Engine,
  dependencies: CrlDependencies,
): Pick<RevocationStore, 'saveCrl' | 'dropCrl' | 'crlPlaces' | 'crl'> {
  const statements = crlStatements(engine);
  const { crlPlaces, crlRow } = statements;
  return {
    saveCrl: (crl, event) => engine.write(() => saveCrl(statements, dependencies, crl, event)),
    dropCrl: (place, event) => engine.write(() => dropCrl(statements, dependencies, place, event)),
    crlPlaces: () =>
      engine.read(() =>
        crlPlaces.all({}).map(({ authority_id: authorityId, shard }) => ({ authorityId, shard })),
      ),
    crl: ({ authorityId, shard }) =>
      engine.read(() => {
        const row = crlRow.get({ authority_id: authorityId, shard });
        return row === undefined ? undefined : toCrl(row);
      }),
  };
}

function saveCrl(
  { putCrl }: CrlStatements,
  { audit, guard, revisions }: CrlDependencies,
  crl: StoredCrl,
  event: AuditEvent,
): void {
  const { authorityId, shard } = crl;
  const highest = guard.crlNumber(crlId(authorityId, shard));
  if (highest >= crl.number)
    throw new PkiError(
      'CONFLICT',
      `the CRL of authority ${crlId(authorityId, shard)} already has number ${highest}`,
    );
  putCrl.run({
    authority_id: authorityId,
    shard,
    number: crl.number,
    this_update: crl.thisUpdate,
    next_update: crl.nextUpdate,
    der: crl.der,
  });
  revisions.advance();
  const detail = { ...event.detail, number: crl.number, ...(shard === 0 ? {} : { shard }) };
  audit({ ...event, detail }, loggedObject('crl', crl));
}

function dropCrl(
  { dropCrlRow }: CrlStatements,
  { audit, revisions }: CrlDependencies,
  { authorityId, shard }: CrlPlace,
  event: AuditEvent,
): void {
  dropCrlRow.run({ authority_id: authorityId, shard });
  revisions.advance();
  audit(
    { ...event, detail: { ...event.detail, shard } },
    deletedObject('crl', crlId(authorityId, shard)),
  );
}

const toCrl = (row: CrlTable): StoredCrl => ({
  authorityId: row.authority_id,
  shard: row.shard,
  number: row.number,
  thisUpdate: row.this_update,
  nextUpdate: row.next_update,
  der: bytes(row.der),
});

function crlStatements(engine: Engine) {
  return {
    putCrl: engine.statement<{ [Column in keyof CrlTable]: CrlTable[Column] }>()((query, slot) => {
      const values = {
        number: slot('number'),
        this_update: slot('this_update'),
        next_update: slot('next_update'),
        der: slot('der'),
      };
      return query
        .insertInto('crls')
        .values({ authority_id: slot('authority_id'), shard: slot('shard'), ...values })
        .onConflict((conflict) => conflict.columns(['authority_id', 'shard']).doUpdateSet(values));
    }),
    dropCrlRow: engine.statement<{ authority_id: string; shard: number }>()((query, slot) =>
      query
        .deleteFrom('crls')
        .where('authority_id', '=', slot('authority_id'))
        .where('shard', '=', slot('shard')),
    ),
    crlPlaces: engine.statement<Record<never, never>>()((query) =>
      query
        .selectFrom('crls')
        .select(['authority_id', 'shard'])
        .orderBy('authority_id')
        .orderBy('shard'),
    ),
    crlRow: engine.statement<{ authority_id: string; shard: number }>()((query, slot) =>
      query
        .selectFrom('crls')
        .selectAll()
        .where('authority_id', '=', slot('authority_id'))
        .where('shard', '=', slot('shard')),
    ),
  };
}
