import type { Authority } from '../authority.ts';
import type { RotatedKind, RotationPolicy } from './types.ts';

type Lives = Pick<
  RotationPolicy,
  | 'longestLeafSeconds'
  | 'longestJwtSeconds'
  | 'issuingLifeSeconds'
  | 'marginSeconds'
  | 'prepareAtLifeFraction'
>;

/** What an authority of this kind signs at most, in seconds. */
export function longestSigned(kind: RotatedKind, policy: Lives): number {
  if (kind === 'jwt') return policy.longestJwtSeconds;
  return kind === 'root' ? policy.issuingLifeSeconds : policy.longestLeafSeconds;
}

/** From then on it can no longer sign for a full life: its successor must be active by then. */
export const activationDeadline = (
  kind: RotatedKind,
  authority: Pick<Authority, 'notAfter'>,
  policy: Lives,
): number => authority.notAfter - longestSigned(kind, policy) - policy.marginSeconds;

/** When its successor is prepared, by the schedule; undefined: never by itself. */
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
 * Why these lives can not work, naming the seconds that are missing, or undefined: between the
 * preparing of a successor and the moment from which the present one would cut what it signs, there
 * must be time to publish and to wait for everybody, that is for the longest of what was given
 * before, and for those that nobody sees.
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
    kind === 'issuing' ? 0 : policy.unseenSeconds[kind],
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
