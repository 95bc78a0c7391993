import type { Authority, AuthorityKind } from '../authority.ts';
import type { RotatedKind, RotationPolicy } from './types.ts';

type Lives = Pick<
  RotationPolicy,
  | 'longestLeafSeconds'
  | 'longestJwtSeconds'
  | 'issuingLifeSeconds'
  | 'names'
  | 'marginSeconds'
  | 'prepareAtLifeFraction'
>;

/** The minimum time in `published`, in seconds: 0 for intermediates, which their root vouches for. */
export const unseenSeconds = (
  kind: AuthorityKind,
  policy: Pick<RotationPolicy, 'unseenSeconds'>,
): number =>
  kind === 'root' || kind === 'jwt' || kind === 'names-root' ? policy.unseenSeconds[kind] : 0;

/** The longest life, in seconds, that an authority of this kind signs. */
function longestSigned(kind: RotatedKind, policy: Lives): number {
  switch (kind) {
    case 'jwt':
      return policy.longestJwtSeconds;
    case 'root':
      return policy.issuingLifeSeconds;
    case 'issuing':
      return policy.longestLeafSeconds;
    case 'names-root':
      return policy.names.issuingLifeSeconds;
    case 'names-issuing':
      return policy.names.longestLeafSeconds;
  }
}

/**
 * From this time on it can no longer sign for a full life, so that its successor must be active.
 */
export const activationDeadline = (
  kind: RotatedKind,
  authority: Pick<Authority, 'notAfter'>,
  policy: Lives,
): number => authority.notAfter - longestSigned(kind, policy) - policy.marginSeconds;

/** When its successor is prepared by schedule. Undefined: never automatically. */
export function prepareDue(
  kind: RotatedKind,
  authority: Pick<Authority, 'notBefore' | 'notAfter'>,
  policy: Lives,
): number | undefined {
  if (policy.prepareAtLifeFraction === undefined) return undefined;
  return Math.min(
    authority.notBefore +
      Math.floor((authority.notAfter - authority.notBefore) * policy.prepareAtLifeFraction),
    activationDeadline(kind, authority, policy),
  );
}

/**
 * Whether a successor below this parent would end no later. Nothing is gained by one, whenever it
 * is made: what helps is the next root.
 */
export const endsWithParent = (
  authority: Pick<Authority, 'notAfter'>,
  parent: Pick<Authority, 'notAfter'> | undefined,
): boolean => parent !== undefined && authority.notAfter >= parent.notAfter;

/**
 * Why these lives can not work, with the number of missing seconds; otherwise undefined. Time is
 * needed between the preparation of a successor and the moment from which the present authority
 * would cut the lives it signs. In that time the successor is published and every consumer is
 * waited for: the longest life that was issued before, and the time for readers that nobody
 * observes.
 */
export function scheduleProblem(
  kind: RotatedKind,
  lifeSeconds: number,
  policy: RotationPolicy,
): { readonly missingSeconds: number; readonly neededLifeSeconds: number } | undefined {
  const fraction = policy.prepareAtLifeFraction;
  if (fraction === undefined) return undefined;
  const waiting = Math.max(
    kind === 'root' ? policy.longestLeafSeconds : 0,
    unseenSeconds(kind, policy),
  );
  const needed = longestSigned(kind, policy) + policy.marginSeconds + waiting;
  const left = lifeSeconds * (1 - fraction);
  return left >= needed
    ? undefined
    : {
        missingSeconds: Math.ceil(needed - left),
        neededLifeSeconds: Math.ceil(needed / (1 - fraction)),
      };
}
