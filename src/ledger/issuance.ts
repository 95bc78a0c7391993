import type { IssuanceStore } from '../store/ports/index.ts';
import type { UnreplacedLeaves } from './unreplaced-leaves.ts';

/** Issuance, of which this process remembers what holders tell of replaced leaves. */
export const ledgerIssuance = (
  rows: IssuanceStore,
  unreplaced: UnreplacedLeaves,
): IssuanceStore => ({
  recordIntents: (intents) => rows.recordIntents(intents),
  finish: (items) => rows.finish(items),
  findRequest: (requester, requestId, publicKeySha256) =>
    rows.findRequest(requester, requestId, publicKeySha256),
  findRequests: (keys) => rows.findRequests(keys),
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
