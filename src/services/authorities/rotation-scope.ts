import {
  isRootKind,
  issuingKindBelow,
  type Authority,
  type AuthorityScope,
} from '../../domain/index.ts';

/** True for the scope of an authority that signs everywhere. */
export const whole = (scope: AuthorityScope): boolean => Object.keys(scope).length === 0;

/** True if both sign in the same replica or region, or both everywhere. */
export const samePlace = (a: AuthorityScope, b: AuthorityScope): boolean =>
  a.share === undefined &&
  a.selectors === undefined &&
  a.replica === b.replica &&
  a.region === b.region;

/**
 * Whether other authorities still sign for all without this one. For an issuing authority: another
 * issuing authority. For a root: also an issuer that is not below it.
 */
export function remains(authority: Authority, all: readonly Authority[]): boolean {
  const others = all.filter(
    (candidate) =>
      candidate.id !== authority.id &&
      candidate.state === 'active' &&
      candidate.token !== 'external' &&
      whole(candidate.scope),
  );
  if (!others.some(({ kind }) => kind === authority.kind)) return false;
  if (!isRootKind(authority.kind)) return true;
  const below = issuingKindBelow(authority.kind);
  return others.some((other) => other.kind === below && other.parentId !== authority.id);
}
