import type { IssuanceStore } from '../store/ports/index.ts';
import type { UnreplacedLeaves } from './unreplaced-leaves.ts';

/**
 * Issuance, of which this process remembers what holders tell of replaced leaves. A recorded
 * certificate of a blocked key answers no request again.
 */
export const ledgerIssuance = (
  rows: IssuanceStore,
  unreplaced: UnreplacedLeaves,
  isBlocked: (publicKeySha256: string) => boolean,
): IssuanceStore => ({
  recordIntents: (intents) => rows.recordIntents(intents),
  finish: (items) => rows.finish(items),
  findRequest: async (requester, requestId, publicKeySha256) =>
    isBlocked(publicKeySha256)
      ? undefined
      : rows.findRequest(requester, requestId, publicKeySha256),
  findRequests: async (keys) =>
    (await rows.findRequests(keys)).map((record) =>
      record === undefined || isBlocked(record.publicKeySha256) ? undefined : record,
    ),
  abandonIntents: (reason, nowMs) => rows.abandonIntents(reason, nowMs),
  confirmReplaced: async (holder, serials, now) => {
    await rows.confirmReplaced(holder, serials, now);
    unreplaced.replaced(holder, serials);
  },
  confirmGone: async (holder, kind, except, now) => {
    await rows.confirmGone(holder, kind, except, now);
    unreplaced.gone(holder, kind, except);
  },
  recordJwtSvids: (items) => rows.recordJwtSvids(items),
  raiseJwtExpiry: (authorityId, expiresAt) => rows.raiseJwtExpiry(authorityId, expiresAt),
});
