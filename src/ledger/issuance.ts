import type { IssuanceStore } from '../store/ports/index.ts';
import type { UnreplacedLeaves } from './unreplaced-leaves.ts';

/** What the log says of a certificate: answered at once, from memory. */
export interface EndedCertificates {
  isBlocked(publicKeySha256: string): boolean;
  isRevoked(serial: string): boolean;
}

/**
 * Issuance, of which this process remembers what holders tell of replaced leaves. A recorded
 * certificate that was revoked, or whose key is blocked, answers no request again.
 */
export const ledgerIssuance = (
  rows: IssuanceStore,
  unreplaced: UnreplacedLeaves,
  { isBlocked, isRevoked }: EndedCertificates,
): IssuanceStore => ({
  recordIntents: (intents) => rows.recordIntents(intents),
  finish: (items) => rows.finish(items),
  findRequest: async (requester, requestId, publicKeySha256) => {
    const record = isBlocked(publicKeySha256)
      ? undefined
      : await rows.findRequest(requester, requestId, publicKeySha256);
    return record === undefined || isRevoked(record.serial) ? undefined : record;
  },
  findRequests: async (keys) =>
    (await rows.findRequests(keys)).map((record) =>
      record === undefined || isBlocked(record.publicKeySha256) || isRevoked(record.serial)
        ? undefined
        : record,
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
