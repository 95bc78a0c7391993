import { PkiError } from '../../common/errors/index.ts';
import type { BundleRevision } from '../../domain/index.ts';
import type { BundleStore } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import type { Engine } from './engine.ts';
import { rowText, type Ledger } from './ledger.ts';
import type { Revisions } from './meta.ts';

export function createBundles(
  engine: Engine,
  {
    audit,
    revisions,
    ledger,
  }: { readonly audit: AuditWriter; readonly revisions: Revisions; readonly ledger: Ledger },
): BundleStore {
  const insert = engine.statement<{
    sequence: number;
    document: string;
    jws: string;
    created_at: number;
  }>()((query, slot) =>
    query.insertInto('bundles').values({
      sequence: slot('sequence'),
      document: slot('document'),
      jws: slot('jws'),
      created_at: slot('created_at'),
    }),
  );
  const latest = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('bundles').selectAll().orderBy('sequence', 'desc').limit(1),
  );
  const since = engine.statement<{ sequence: number }>()((query, slot) =>
    query
      .selectFrom('bundles')
      .selectAll()
      .where('sequence', '>', slot('sequence'))
      .orderBy('sequence'),
  );

  const read = (row: Schema['bundles']): BundleRevision =>
    ledger.read('bundle', String(row.sequence), () => rowText.bundle(row), toBundle(row));
  const stored = ({ sequence, document, jws, createdAt }: BundleRevision) =>
    ({
      kind: 'bundle',
      id: String(sequence),
      text: rowText.bundle({ sequence, document, jws, created_at: createdAt }),
    }) as const;

  return {
    append: (revision, event) =>
      engine.write(() => {
        const next = (latest.get({})?.sequence ?? 0) + 1;
        if (revision.sequence !== next)
          throw new PkiError(
            'CONFLICT',
            `the next bundle revision is ${next}, not ${revision.sequence}`,
          );
        insert.run({
          sequence: revision.sequence,
          document: revision.document,
          jws: revision.jws,
          created_at: revision.createdAt,
        });
        revisions.advance();
        audit(event, stored(revision));
      }),
    latest: () =>
      engine.read(() => {
        const row = latest.get({});
        return row === undefined ? undefined : read(row);
      }),
    since: (sequence) => engine.read(() => since.all({ sequence }).map(read)),
  };
}

const toBundle = (row: Schema['bundles']): BundleRevision => ({
  sequence: row.sequence,
  document: row.document,
  jws: row.jws,
  createdAt: row.created_at,
});
