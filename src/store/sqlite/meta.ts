import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Logger } from '../../common/runtime/index.ts';
import type { Position } from '../../domain/index.ts';
import type { MetaStore } from '../ports/index.ts';
import type { Engine } from './engine.ts';

export interface Revisions {
  /** Adds one, inside the transaction of whoever calls, and returns the new revision. */
  advance(): number;
  position(): Position;
  /** Changes up to this revision may have been pruned. */
  horizon(): number;
  raiseHorizon(revision: number): void;
  subscribe(listener: (position: Position) => void): () => void;
}

type None = Record<never, never>;

export function createMeta(
  engine: Engine,
  logger: Logger,
): { readonly store: MetaStore; readonly revisions: Revisions } {
  const { read, next, raise, write } = metaStatements(engine);
  const row = () => {
    const found = read.get({});
    if (found === undefined)
      throw new PkiError('STORE_CORRUPT', 'table meta has no row', { grade: 'fatal' });
    return found;
  };
  const position = (): Position => {
    const { epoch, revision } = row();
    return { epoch, revision };
  };

  const listeners = new Set<(position: Position) => void>();
  let announced = row().revision;
  let moved = false;
  engine.afterDurable(() => {
    if (!moved) return;
    moved = false;
    const now = position();
    // Equal when the write that moved it was rolled back to its savepoint.
    if (now.revision === announced) return;
    announced = now.revision;
    for (const listener of listeners) {
      try {
        listener(now);
      } catch (error) {
        logger.error({ err: error }, 'a listener on revisions failed');
      }
    }
  });

  const claim = (trustDomain: string, now: number): Position => {
    const found = row();
    if (found.trust_domain === null)
      write.run({ trust_domain: trustDomain, epoch: uuidv7(now * 1000), claimed_at: now });
    else if (found.trust_domain !== trustDomain) {
      throw new PkiError(
        'TRUST_DOMAIN_CHANGED',
        `the database belongs to trust domain ${found.trust_domain}, not to ${trustDomain}`,
      );
    }
    return position();
  };

  return {
    store: {
      trustDomain: () => engine.read(() => row().trust_domain ?? undefined),
      claim: (trustDomain, now) => engine.write(() => claim(trustDomain, now)),
      position: () => engine.read(position),
      renewEpoch: (now) =>
        engine.write(() => {
          write.run({
            trust_domain: row().trust_domain as string,
            epoch: uuidv7(now * 1000),
            claimed_at: now,
          });
          return position();
        }),
    },
    revisions: {
      advance: () => {
        moved = true;
        const advanced = next.get({});
        if (advanced === undefined)
          throw new PkiError('STORE_CORRUPT', 'table meta has no row', { grade: 'fatal' });
        return advanced.revision;
      },
      position,
      horizon: () => row().horizon,
      raiseHorizon: (revision) => void raise.run({ horizon: revision }),
      subscribe: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
  };
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
