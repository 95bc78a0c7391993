import { selectorText } from '../../common/spiffe/index.ts';
import type { TokenExplanation } from '../../services/services.ts';

/** What a token gives, as both its holder and an operator are told. */
export const explanationMessage = ({ token, grants, usedAt }: TokenExplanation) => ({
  issuer: token.issuer,
  subject: token.subject,
  expiresAt: token.expiresAt,
  selectors: token.selectors.map(selectorText),
  grants: grants.map(({ spiffeId, ttlSeconds, entryId, denied, names }) => ({
    spiffeId: spiffeId.toString(),
    ttlSeconds,
    entryId,
    denied: denied ?? '',
    names: names.map(({ delegation, tenant }) => ({
      ...{ delegationId: delegation.id, tenant, profile: delegation.profile },
      dnsPatterns: [...delegation.dnsPatterns],
      ipRanges: [...delegation.ipRanges],
      wildcards: delegation.wildcards,
    })),
  })),
  usedAt: usedAt ?? 0,
  purposes: [...token.purposes],
});
