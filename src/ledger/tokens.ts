import type { JoinToken, Proven } from '../domain/index.ts';
import { pagesOf } from '../store/pages.ts';
import type { JoinTokenStore } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';

/** Join tokens. An answer on which somebody is let in is as the log has it. */
export interface LedgerTokens extends Omit<JoinTokenStore, 'byHash'> {
  /** @throws OBJECT_NOT_IN_LOG */
  byHash(tokenSha256: string): Promise<Proven<JoinToken> | undefined>;
  /**
   * Whether a token that was made at `madeUntil` or before may still bring an agent: it is good at
   * `now`, and led to no certificate. A token whose row is gone, or is not as the log has it, may
   * do so for as long as a token can live at most.
   */
  isAwaited(asked: AwaitedTokens): Promise<boolean>;
}

export interface AwaitedTokens {
  readonly madeUntil: number;
  readonly now: number;
  readonly longestLifeSeconds: number;
}

export function ledgerTokens(
  rows: JoinTokenStore,
  objects: Pick<Objects, 'prove' | 'require' | 'expectedCount'>,
): LedgerTokens {
  return {
    create: (token, event, signal) => rows.create(token, event, signal),
    byId: (id, signal) => rows.byId(id, signal),
    bind: (id, use, event) => rows.bind(id, use, event),
    revoke: (id, now, event) => rows.revoke(id, now, event),
    list: (page) => rows.list(page),
    byHash: async (tokenSha256) => {
      const row = await rows.byHash(tokenSha256);
      return row === undefined ? undefined : objects.require('join-token', row);
    },
    isAwaited: async ({ madeUntil, now, longestLifeSeconds }) => {
      if (now >= madeUntil + longestLifeSeconds) return false;
      let proven = 0;
      for await (const page of pagesOf((request) => rows.list(request)))
        for (const row of page) {
          const token = objects.prove('join-token', row);
          if (token === undefined) continue;
          proven += 1;
          if (mayBring(token, madeUntil, now)) return true;
        }
      // counted after the rows were read: a token that was made meanwhile hides no missing one
      return objects.expectedCount('join-token') > proven;
    },
  };
}

const mayBring = (token: Proven<JoinToken>, madeUntil: number, now: number): boolean =>
  token.createdAt <= madeUntil && token.expiresAt > now && token.resultSerial === null;
