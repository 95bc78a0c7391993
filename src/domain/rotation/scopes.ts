import type { Authority, AuthorityScope } from '../authority.ts';
import type { AuthorityFacts, RotationOperation } from './types.ts';

export const sameScope = (a: AuthorityScope, b: AuthorityScope): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

/**
 * The step after the present one of the successor. Undefined: it signs for everything that its
 * targets signed for.
 */
export function nextScope(
  successor: Authority,
  steps: readonly AuthorityScope[] | undefined,
  whole: AuthorityScope,
): { readonly scope: AuthorityScope; readonly index: number } | undefined {
  if (steps === undefined || steps.length === 0 || sameScope(successor.scope, whole))
    return undefined;
  const index = steps.findIndex((step) => sameScope(step, successor.scope)) + 1;
  return { scope: steps[index] ?? whole, index: Math.max(index, 1) };
}

/**
 * The scope of the targets, if all have the same; otherwise everything. An authority that replaces
 * none signs for the scope that was requested.
 */
export function wholeScope(
  { targets, scope: requestedScope }: RotationOperation['spec'],
  successor: Authority,
  byId: ReadonlyMap<string, AuthorityFacts>,
): AuthorityScope {
  if (targets.length === 0) return requestedScope ?? successor.scope;
  const [first, ...otherScopes] = targets.flatMap((id) => byId.get(id)?.authority.scope ?? []);
  return first !== undefined && otherScopes.every((scope) => sameScope(scope, first)) ? first : {};
}
