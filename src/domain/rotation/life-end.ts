import {
  endedStates,
  hasEnded,
  isIssuingKind,
  isRootKind,
  isTrusted,
  type Authority,
  type AuthorityState,
} from '../authority.ts';
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
  if (authority.token !== 'external' || !isIssuingKind(authority.kind)) return;
  // of names, only the engine makes one, in one act: what is unfinished is left of a crash
  if (
    authority.kind === 'names-issuing' &&
    (authority.state === 'preparing' || authority.state === 'prepared')
  )
    actions.push({ type: 'drop', authority });
  if (authority.state !== 'published') return;
  const certified = input.authorities.find(
    ({ authority: root }) =>
      isRootKind(root.kind) &&
      root.spkiDer !== null &&
      authority.spkiDer?.equals(root.spkiDer) === true,
  )?.authority;
  if (certified === undefined) return;
  // of names, the engine made it: it goes with the earlier root, which it keeps from retiring
  const over =
    authority.kind === 'names-issuing' &&
    input.clock === 'believed' &&
    hasEnded(authority, input.now);
  if (over || certified.state === 'tainted' || endedStates.includes(certified.state))
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
    isRootKind(authority.kind) &&
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
