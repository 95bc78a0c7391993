import type { Authority, AuthorityScope } from '../authority.ts';
import type { AuthorityFacts, RotationOperation } from './types.ts';

export const sameScope = (a: AuthorityScope, b: AuthorityScope): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

/**
 * The step after the one that the successor is at; undefined: it signs for all that its targets
 * signed for.
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
 * What the targets sign for, where it is the same for all; else everything. One that takes nobody's
 * place signs for what it was made for.
 */
export function wholeScope(
  { targets, scope: asked }: RotationOperation['spec'],
  successor: Authority,
  byId: ReadonlyMap<string, AuthorityFacts>,
): AuthorityScope {
  if (targets.length === 0) return asked ?? successor.scope;
  const [first, ...others] = targets.flatMap((id) => byId.get(id)?.authority.scope ?? []);
  return first !== undefined && others.every((scope) => sameScope(scope, first)) ? first : {};
}
