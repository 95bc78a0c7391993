import { setImmediate } from 'node:timers/promises';
import { sql, type SqlBool } from 'kysely';
import type { OcspRecord } from '../../domain/index.ts';
import type { OcspAnswerTable } from '../ocsp-schema.ts';
import type { OcspLeafRow, OcspStore } from '../ports/index.ts';
import { bytes, fromHex, fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';

export function createOcsp(engine: Engine): OcspStore {
  const { put, bySerial, due, earliest, after, rest, leaves, ended, drop } = ocspStatements(engine);
  const read = (serial: string): OcspRecord | undefined => {
    const key = fromHexOrUndefined(serial);
    const row = key === undefined ? undefined : bySerial.get({ serial: key });
    return row === undefined ? undefined : toRecord(row);
  };
  return {
    put: (answers) =>
      engine.write(() => {
        for (const answer of answers) put.run(toRow(answer));
      }),
    bySerial: (serial) => engine.read(() => read(serial)),
    bySerials: (serials) => engine.read(() => serials.map(read)),
    due: (now, limit) => engine.read(() => due.all({ now, limit }).map(toRecord)),
    earliest: () =>
      engine.read(() => {
        const row = earliest.get({});
        return row === undefined ? undefined : toRecord(row);
      }),
    count: async () => {
      let whole = 0;
      for (let place = beforeAll; ; whole += countedAtOnce) {
        const next = await engine.read(() => after.get({ ...place, skipped: countedAtOnce - 1 }));
        if (next === undefined)
          return whole + ((await engine.read(() => rest.get(place)))?.count ?? 0);
        place = { dueAt: next.due_at, serial: next.serial };
        await setImmediate();
      }
    },
    leaves: ({ authorityId, now, form }, after, limit) =>
      engine.read(() =>
        leaves
          .all({
            authority: authorityId,
            form,
            from: Math.max(now, after?.notAfter ?? 0),
            at: after?.notAfter ?? -1,
            sequence: after?.sequence ?? -1,
            limit,
          })
          .map(toLeaf),
      ),
    drop: (serials) =>
      engine.write(() => {
        for (const serial of serials) drop.run({ serial: fromHex(serial, 'the serial') });
      }),
    prune: (endedBefore, limit) =>
      engine.write(() => {
        const rows = ended.all({ before: endedBefore, limit });
        for (const { serial } of rows) drop.run({ serial });
        return rows.length;
      }),
  };
}

/** A few milliseconds: a million answers in one turn would take a hundred. */
const countedAtOnce = 10_000;
const beforeAll: DuePlace = { dueAt: -1, serial: new Uint8Array() };

interface DuePlace {
  readonly [name: string]: number | Uint8Array;
  readonly dueAt: number;
  readonly serial: Uint8Array;
}

/** Answers are counted in the order of the index of when they are due, which is read alone. */
function countStatements(engine: Engine) {
  const behind = (slot: (name: 'dueAt' | 'serial') => unknown) =>
    sql<SqlBool>`(due_at, serial) > (${slot('dueAt')}, ${slot('serial')})`;
  return {
    after: engine.statement<DuePlace & { skipped: number }>()((query, slot) =>
      query
        .selectFrom('ocsp_answers')
        .select(['due_at', 'serial'])
        .where(behind(slot))
        .orderBy('due_at')
        .orderBy('serial')
        .limit(1)
        .offset(slot('skipped')),
    ),
    rest: engine.statement<DuePlace>()((query, slot) =>
      query
        .selectFrom('ocsp_answers')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .where(behind(slot)),
    ),
  };
}

interface LeavesFrom {
  readonly [name: string]: string | number;
  readonly authority: string;
  readonly form: number;
  readonly from: number;
  readonly at: number;
  readonly sequence: number;
  readonly limit: number;
}

function ocspStatements(engine: Engine) {
  return {
    put: engine.statement<{ [Column in keyof OcspAnswerTable]: OcspAnswerTable[Column] }>()(
      (query, slot) => {
        const values = {
          signer: slot('signer'),
          form: slot('form'),
          revoked_at: slot('revoked_at'),
          reason: slot('reason'),
          produced_at: slot('produced_at'),
          this_update: slot('this_update'),
          next_update: slot('next_update'),
          due_at: slot('due_at'),
          not_after: slot('not_after'),
          sha1_signature: slot('sha1_signature'),
          sha256_signature: slot('sha256_signature'),
        };
        return query
          .insertInto('ocsp_answers')
          .values({ serial: slot('serial'), ...values })
          .onConflict((conflict) => conflict.column('serial').doUpdateSet(values));
      },
    ),
    bySerial: engine.statement<{ serial: Uint8Array }>()((query, slot) =>
      query.selectFrom('ocsp_answers').selectAll().where('serial', '=', slot('serial')),
    ),
    due: engine.statement<{ now: number; limit: number }>()((query, slot) =>
      query
        .selectFrom('ocsp_answers')
        .selectAll()
        .where('due_at', '<=', slot('now'))
        .orderBy('due_at')
        .orderBy('serial')
        .limit(slot('limit')),
    ),
    earliest: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('ocsp_answers').selectAll().orderBy('due_at').limit(1),
    ),
    ...countStatements(engine),
    leaves: leavesStatement(engine),
    ended: engine.statement<{ before: number; limit: number }>()((query, slot) =>
      query
        .selectFrom('ocsp_answers')
        .select('serial')
        .where('not_after', '<', slot('before'))
        .limit(slot('limit')),
    ),
    drop: engine.statement<{ serial: Uint8Array }>()((query, slot) =>
      query.deleteFrom('ocsp_answers').where('serial', '=', slot('serial')),
    ),
  };
}

const leavesStatement = (engine: Engine) =>
  engine.statement<LeavesFrom>()((query, slot) => {
    const answered = sql<number>`EXISTS (SELECT 1 FROM ocsp_answers WHERE ocsp_answers.serial = certificates.serial AND form = ${slot('form')})`;
    return query
      .selectFrom('certificates')
      .select(['serial', 'sequence', 'not_after'])
      .select(
        sql<Uint8Array | null>`CASE WHEN ${answered} THEN NULL ELSE certificate_der END`.as('der'),
      )
      .where('authority_id', '=', slot('authority'))
      .where('not_after', '>=', slot('from'))
      .where((has) =>
        has.or([
          has('not_after', '<>', slot('at')),
          has('certificates.sequence', '>', slot('sequence')),
        ]),
      )
      .where('state', '=', 'issued')
      .where('profile', 'in', ['revocable', 'classic'])
      .orderBy('not_after')
      .orderBy('certificates.sequence')
      .limit(slot('limit'));
  });

const toLeaf = (row: {
  readonly serial: Uint8Array;
  readonly sequence: number;
  readonly not_after: number;
  readonly der: Uint8Array | null;
}): OcspLeafRow => ({
  serial: hex(row.serial),
  sequence: row.sequence,
  notAfter: row.not_after,
  unanswered: row.der === null ? undefined : bytes(row.der),
});

const toRow = (answer: OcspRecord): OcspAnswerTable => ({
  serial: fromHex(answer.serial, 'the serial'),
  signer: answer.signer,
  form: answer.form,
  revoked_at: answer.revoked?.revokedAt ?? null,
  reason: answer.revoked?.reason ?? null,
  produced_at: answer.producedAt,
  this_update: answer.thisUpdate,
  next_update: answer.nextUpdate,
  due_at: answer.dueAt,
  not_after: answer.notAfter,
  sha1_signature: answer.signatures.sha1,
  sha256_signature: answer.signatures.sha256,
});

type Revoked = NonNullable<OcspRecord['revoked']>;

const toRecord = (row: OcspAnswerTable): OcspRecord => ({
  serial: hex(row.serial),
  signer: row.signer,
  form: row.form,
  revoked:
    row.revoked_at === null
      ? undefined
      : { revokedAt: row.revoked_at, reason: (row.reason ?? undefined) as Revoked['reason'] },
  producedAt: row.produced_at,
  thisUpdate: row.this_update,
  nextUpdate: row.next_update,
  dueAt: row.due_at,
  notAfter: row.not_after,
  signatures: { sha1: bytes(row.sha1_signature), sha256: bytes(row.sha256_signature) },
});
