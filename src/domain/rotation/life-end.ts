import { endedStates, isTrusted, type Authority, type AuthorityState } from '../authority.ts';
import type { Turn } from './turn.ts';
import type { AuthorityFacts } from './types.ts';

/** Taints authorities below a tainted root, also if the server stopped in between. */
export function taintWithRoot(authority: Authority, { byId, actions }: Turn): void {
  if (authority.parentId === null || !['published', 'active', 'old'].includes(authority.state))
    return;
  const parent = byId.get(authority.parentId)?.authority;
  if (parent?.state === 'tainted')
    actions.push({ type: 'taint', authority, windowSeconds: parent.taintWindowSeconds ?? 0 });
}

/** A cross-certificate ends with the root that it certifies. */
export function dropWithRoot(authority: Authority, { input, actions }: Turn): void {
  if (
    authority.token !== 'external' ||
    authority.kind !== 'issuing' ||
    authority.state !== 'published'
  )
    return;
  const certified = input.authorities.find(
    ({ authority: root }) =>
      root.kind === 'root' &&
      root.spkiDer !== null &&
      authority.spkiDer?.equals(root.spkiDer) === true,
  )?.authority;
  if (
    certified !== undefined &&
    (certified.state === 'tainted' || endedStates.includes(certified.state))
  )
    actions.push({ type: 'drop', authority });
}

/**
 * Retires an old authority when none of its signatures can be valid any more. Revokes a tainted one
 * when every certificate that it signed was replaced at its holder or has expired.
 */
export function endLife(
  { authority, lastExpiry, live }: AuthorityFacts,
  { input, actions, notes }: Turn,
): void {
  if (authority.state !== 'old' && authority.state !== 'tainted') return;
  if (
    authority.kind === 'root' &&
    input.authorities.some(
      ({ authority: child }) => child.parentId === authority.id && stillCounts(child.state),
    )
  )
    return;
  const over = lastExpiry + input.policy.retireMarginSeconds;
  const replaced = authority.state === 'tainted' && authority.kind !== 'jwt' && live === 0;
  if (input.clock !== 'believed' || (!replaced && input.now <= over)) {
    notes.push({ code: 'WAITING_EXPIRY', authorityId: authority.id, at: over, alert: false });
    return;
  }
  actions.push(
    authority.state === 'old' ? { type: 'retire', authority } : { type: 'revoke', authority },
  );
}

const stillCounts = (state: AuthorityState): boolean =>
  isTrusted(state) || state === 'preparing' || state === 'prepared';
