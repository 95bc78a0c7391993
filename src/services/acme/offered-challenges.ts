import type { ChallengeType, EabKey, OrderIdentifier } from '../../domain/index.ts';

const byAddress: ReadonlySet<ChallengeType> = new Set(['http-01', 'tls-alpn-01']);

/**
 * The types of challenges of an authorization, in the order of the configuration or of the key.
 * Empty: nothing can show control of this identifier. An IP address is shown at the address alone
 * (RFC 8738 section 4), a wildcard in DNS alone (RFC 8555 section 8.4).
 */
export function offeredChallenges(
  { identifier, wildcard }: { readonly identifier: OrderIdentifier; readonly wildcard: boolean },
  { challengeTypes }: Pick<EabKey, 'challengeTypes'>,
  configured: readonly ChallengeType[],
): readonly ChallengeType[] {
  const types =
    challengeTypes.length > 0
      ? challengeTypes
      : configured.filter((type) => type !== 'dns-persist-01');
  return types.filter((type) => {
    if (identifier.type === 'ip') return byAddress.has(type);
    return !wildcard || !byAddress.has(type);
  });
}
