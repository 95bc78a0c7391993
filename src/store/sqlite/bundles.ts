import { PkiError } from '../../common/errors/index.ts';
import { loggedObject, type BundleRevision } from '../../domain/index.ts';
import type { BundleStore } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';

export function createBundles(
  engine: Engine,
  { audit, revisions }: { readonly audit: AuditWriter; readonly revisions: Revisions },
): BundleStore {
  const { insert, latest, since } = bundleStatements(engine);
  return {
    append: (revision, event, after = revision.sequence - 1) =>
      engine.write(() => {
        const last = latest.get({})?.sequence ?? 0;
        if (last !== after || revision.sequence <= last)
          throw new PkiError(
            'CONFLICT',
            `the last bundle revision is ${last}: ${revision.sequence} after ${after} does not follow it`,
          );
        insert.run({
          sequence: revision.sequence,
          document: revision.document,
          jws: revision.jws,
          created_at: revision.createdAt,
        });
        revisions.advance();
        audit(event, loggedObject('bundle', revision));
      }),
    latest: () =>
      engine.read(() => {
        const row = latest.get({});
        return row === undefined ? undefined : toBundle(row);
      }),
    since: (sequence) => engine.read(() => since.all({ sequence }).map(toBundle)),
  };
}

function bundleStatements(engine: Engine) {
  return {
    insert: engine.statement<{
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
    ),
    latest: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('bundles').selectAll().orderBy('sequence', 'desc').limit(1),
    ),
    since: engine.statement<{ sequence: number }>()((query, slot) =>
      query
        .selectFrom('bundles')
        .selectAll()
        .where('sequence', '>', slot('sequence'))
        .orderBy('sequence'),
    ),
  };
}

const toBundle = (row: Schema['bundles']): BundleRevision => ({
  sequence: row.sequence,
  document: row.document,
  jws: row.jws,
  createdAt: row.created_at,
});
