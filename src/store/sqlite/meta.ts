import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Logger, uuidv7 } from '../../common/runtime/index.ts';
import type { Position } from '../../domain/index.ts';
import type { MetaStore } from '../ports/index.ts';
import type { MetaTable } from '../schema.ts';
import type { Engine } from './engine.ts';

export interface Revisions {
  /** Increments the revision inside the caller's transaction, and returns it. */
  advance(): number;
  position(): Position;
  /** Changes up to this revision may have been pruned. */
  horizon(): number;
  raiseHorizon(revision: number): void;
  subscribe(listener: (position: Position) => void): () => void;
}

type None = Record<never, never>;

type MetaStatements = ReturnType<typeof metaStatements>;

export function createMeta(
  engine: Engine,
  logger: Logger,
): { readonly store: MetaStore; readonly revisions: Revisions } {
  const statements = metaStatements(engine);
  const present = (): MetaTable => metaRow(statements);
  const revisions = createRevisions(engine, statements, logger);

  const claim = (trustDomain: string, now: number): Position => {
    const row = present();
    if (row.trust_domain === null) begin(trustDomain, now);
    else if (row.trust_domain !== trustDomain) {
      throw new PkiError(
        'TRUST_DOMAIN_CHANGED',
        `the database belongs to trust domain ${row.trust_domain}, not to ${trustDomain}`,
      );
    }
    return revisions.position();
  };
  const begin = (trustDomain: string, now: number): void =>
    void statements.write.run({
      trust_domain: trustDomain,
      epoch: uuidv7(now * 1000),
      claimed_at: now,
    });

  return {
    store: {
      trustDomain: () => engine.read(() => present().trust_domain ?? undefined),
      claim: (trustDomain, now) => engine.write(() => claim(trustDomain, now)),
      position: () => engine.read(() => revisions.position()),
      renewEpoch: (now) =>
        engine.write(() => {
          begin(present().trust_domain as string, now);
          return revisions.position();
        }),
    },
    revisions,
  };
}

function createRevisions(engine: Engine, statements: MetaStatements, logger: Logger): Revisions {
  const position = (): Position => {
    const { epoch, revision } = metaRow(statements);
    return { epoch, revision };
  };
  const listeners = new Set<(position: Position) => void>();
  let announced = position().revision;
  let moved = false;
  engine.afterDurable(() => {
    if (!moved) return;
    moved = false;
    const now = position();
    // equal if the write that moved the revision was rolled back to its savepoint
    if (now.revision === announced) return;
    announced = now.revision;
    for (const listener of listeners) {
      try {
        listener(now);
      } catch (error) {
        logger.error({ ...errorFields(error) }, 'a listener on revisions failed');
      }
    }
  });
  return {
    advance: () => {
      moved = true;
      return existing(statements.next.get({})).revision;
    },
    position,
    horizon: () => metaRow(statements).horizon,
    raiseHorizon: (revision) => void statements.raise.run({ horizon: revision }),
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

const metaRow = ({ read }: MetaStatements): MetaTable => existing(read.get({}));

function existing<Row>(row: Row | undefined): Row {
  if (row === undefined)
    throw new PkiError('STORE_CORRUPT', 'table meta has no row', { grade: 'fatal' });
  return row;
}

function metaStatements(engine: Engine) {
  return {
    read: engine.statement<None>()((query) => query.selectFrom('meta').selectAll()),
    next: engine.statement<None>()((query) =>
      query
        .updateTable('meta')
        .set((eb) => ({ revision: eb('revision', '+', 1) }))
        .returning('revision'),
    ),
    raise: engine.statement<{ horizon: number }>()((query, slot) =>
      query.updateTable('meta').set({ horizon: slot('horizon') }),
    ),
    write: engine.statement<{ trust_domain: string; epoch: string; claimed_at: number }>()(
      (query, slot) =>
        query.updateTable('meta').set({
          trust_domain: slot('trust_domain'),
          epoch: slot('epoch'),
          claimed_at: slot('claimed_at'),
        }),
    ),
  };
}
