import type { Authority, AuthorityScope } from '../../domain/index.ts';

/** Signs everywhere. */
export const whole = (scope: AuthorityScope): boolean => Object.keys(scope).length === 0;

/** Signs in the same replica or region, or both everywhere. */
export const samePlace = (a: AuthorityScope, b: AuthorityScope): boolean =>
  a.share === undefined &&
  a.selectors === undefined &&
  a.replica === b.replica &&
  a.region === b.region;

/**
 * Whether somebody still signs for all without this authority: another of its kind, and for a root
 * an issuer that is not below it.
 */
export function remains(authority: Authority, all: readonly Authority[]): boolean {
  const others = all.filter(
    (each) =>
      each.id !== authority.id &&
      each.state === 'active' &&
      each.token !== 'external' &&
      whole(each.scope),
  );
  if (!others.some(({ kind }) => kind === authority.kind)) return false;
  return (
    authority.kind !== 'root' ||
    others.some((each) => each.kind === 'issuing' && each.parentId !== authority.id)
  );
}
