import { sql, type Expression, type ExpressionBuilder, type SqlBool } from 'kysely';
import type { CertificateSelection } from '../../domain/index.ts';
import type { CertificateStore } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import { certificateColumns, ofTenant, toCertificate } from './certificates.ts';
import { fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import { builder } from './statement.ts';

/** Looking at more rows in one turn would block the thread for more than some milliseconds. */
const rowsAStep = 5_000;
/** More certificates of one holder are not told at once. */
const maximumOfHolder = 10_000;

/** Reads that go through many certificates, some rows at a time. */
export function createCertificateScan(
  engine: Engine,
): Pick<CertificateStore, 'heldBy' | 'scan' | 'unreplacedOf'> {
  const newest = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('certificates').select('sequence').orderBy('sequence', 'desc').limit(1),
  );
  const ofHolder = unreplacedStatement(engine);
  const held = heldStatement(engine);
  return {
    scan: (selection, { after, now, limit }) =>
      engine.read(() => {
        const until = after + rowsAStep;
        const rows = engine.rows(
          builder
            .selectFrom('certificates')
            .select(certificateColumns)
            .where('sequence', '>', after)
            .where('sequence', '<=', until)
            .where((eb) => eb.and([...liveTerms(now), ...selectedTerms(eb, selection)]))
            .orderBy('sequence')
            .limit(limit),
        );
        const last = rows.at(-1)?.sequence ?? after;
        const end = newest.get({})?.sequence ?? 0;
        const next = rows.length === limit ? last : until;
        return { items: rows.map(toCertificate), next: next >= end ? undefined : next };
      }),
    heldBy: (holder, { now, limit, after = { notAfter: now, sequence: -1 } }) =>
      engine.read(() =>
        held
          .all({ holder, ...after, limit })
          .map(({ serial, public_key_sha256, authority_id, sequence, not_after }) => ({
            ...{ serial: hex(serial), publicKeySha256: hex(public_key_sha256) },
            ...{ authorityId: authority_id, sequence, notAfter: not_after },
          })),
      ),
    unreplacedOf: (holder, now) =>
      engine.read(() =>
        ofHolder.all({ holder, now }).map((row) => ({
          serial: hex(row.serial),
          publicKeySha256: hex(row.public_key_sha256),
          authorityId: row.authority_id,
        })),
      ),
  };
}

const unreplacedStatement = (engine: Engine) =>
  engine.statement<{ holder: string; now: number }>()((query, slot) =>
    query
      .selectFrom('certificates')
      .select(['serial', 'public_key_sha256', 'authority_id'])
      .where('holder', '=', slot('holder'))
      .where('not_after', '>=', slot('now'))
      .where('state', '=', 'issued')
      .where('replaced_by', 'is', null)
      .limit(maximumOfHolder),
  );

const heldStatement = (engine: Engine) =>
  engine.statement<{ holder: string; notAfter: number; sequence: number; limit: number }>()(
    (query, slot) =>
      query
        .selectFrom('certificates')
        .select(['serial', 'public_key_sha256', 'authority_id', 'sequence', 'not_after'])
        .where('holder', '=', slot('holder'))
        .where((eb) =>
          eb(
            eb.refTuple('not_after', 'sequence'),
            '>',
            eb.tuple(slot('notAfter'), slot('sequence')),
          ),
        )
        .where('state', '=', 'issued')
        .orderBy('not_after')
        .orderBy('sequence')
        .limit(slot('limit')),
  );

/**
 * The plus keeps the planner from an index on the column: each step reads one range of the table,
 * whatever is selected.
 */
const liveTerms = (now: number): readonly Expression<SqlBool>[] => [
  sql<SqlBool>`+not_after >= ${now}`,
  sql<SqlBool>`+state IN ('issued', 'withheld', 'abandoned')`,
];

function selectedTerms(
  eb: ExpressionBuilder<Schema, 'certificates'>,
  selection: CertificateSelection,
): readonly Expression<SqlBool>[] {
  const terms: Expression<SqlBool>[] = [];
  const { spiffeIdPrefix, dnsName, publicKeySha256, issuedAfter, issuedBefore } = selection;
  const equal = (column: string, value: string | undefined): void => {
    if (value !== undefined) terms.push(sql<SqlBool>`+${sql.ref(column)} = ${value}`);
  };
  equal('spiffe_id', selection.spiffeId);
  equal('holder', selection.holder);
  equal('entry_id', selection.entryId);
  equal('delegation_id', selection.delegationId);
  equal('authority_id', selection.authorityId);
  if (spiffeIdPrefix !== undefined)
    terms.push(
      sql<SqlBool>`+spiffe_id >= ${spiffeIdPrefix}`,
      sql<SqlBool>`+spiffe_id < ${`${spiffeIdPrefix}\u{10ffff}`}`,
    );
  if (selection.owned !== undefined) terms.push(ofTenant(selection.owned, '+'));
  // the name stands in the certificate as it is; the caller reads the certificate to be sure
  if (dnsName !== undefined)
    terms.push(sql<SqlBool>`instr(certificate_der, ${Buffer.from(dnsName)}) > 0`);
  if (publicKeySha256 !== undefined) {
    const key = fromHexOrUndefined(publicKeySha256);
    terms.push(key === undefined ? eb.lit(false) : eb('public_key_sha256', '=', key));
  }
  if (issuedAfter !== undefined) terms.push(eb('created_at_ms', '>=', issuedAfter * 1000));
  if (issuedBefore !== undefined) terms.push(eb('created_at_ms', '<', (issuedBefore + 1) * 1000));
  return terms;
}
