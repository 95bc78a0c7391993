import { hasEnded, isIssuingKind, type Authority } from '../authority.ts';
import { endedByHand } from './ended.ts';
import { endsWithParent, prepareDue } from './schedule.ts';
import { sameScope } from './scopes.ts';
import { parentOf, type Turn } from './turn.ts';
import type { RotatedKind } from './types.ts';

/**
 * Opens operations: for an issuer whose root no longer signs, and for authorities near their end.
 */
export function begin(kind: RotatedKind, turn: Turn): void {
  const { input, notes } = turn;
  if (input.operations.some((operation) => operation.kind === kind)) return;
  if (input.policy.idle?.includes(kind) === true) return;
  const ofKind = input.authorities
    .map(({ authority }) => authority)
    .filter((authority) => authority.kind === kind);
  const active = ofKind.filter(({ state }) => state === 'active');
  const signing = active.filter(({ token }) => token !== 'external');
  if (isIssuingKind(kind) && replaceOrphans(kind, signing, turn)) return;
  if (signing.length > 0) {
    // what an operator has to replace holds up no successor of the others
    const living = signing.filter((authority) => !hasEnded(authority, input.now));
    replaceBySchedule(kind, endedByHand(kind, signing, turn) ? living : signing, turn);
    return;
  }
  // a root of another CA that is active is not replaced here
  if (active.length === 0 && ofKind.some(({ state }) => state !== 'preparing'))
    notes.push({ code: 'NO_SUCCESSOR', authorityId: '', at: 0, alert: true });
}

/** Replaces issuing authorities whose root is old or tainted. Returns true if there are any. */
function replaceOrphans(
  kind: 'issuing' | 'names-issuing',
  signing: readonly Authority[],
  { input, byId, actions }: Turn,
): boolean {
  const orphans = signing.filter(
    ({ parentId }) =>
      parentId !== null && ['old', 'tainted'].includes(byId.get(parentId)?.authority.state ?? ''),
  );
  const parent = parentOf(kind, null, input);
  // Authorities with the same scope get one successor. The scope without limits comes first,
  // because its successor can stand in for the others.
  const first = orphans.find(({ scope }) => sameScope(scope, {})) ?? orphans[0];
  if (first === undefined || parent === undefined) return false;
  // consumers that were left behind by force when the root began to sign would hold up its issuers
  const force = input.operations.find(({ spec }) => spec.successorId === parent.id)?.spec.force;
  actions.push({
    type: 'open',
    kind,
    targets: orphans.filter(({ scope }) => sameScope(scope, first.scope)).map(({ id }) => id),
    parentId: parent.id,
    trigger: 'root',
    ...(force === undefined ? {} : { force }),
  });
  return true;
}

function replaceBySchedule(
  kind: RotatedKind,
  signing: readonly Authority[],
  { input, actions, notes }: Turn,
): void {
  const parent = parentOf(kind, null, input);
  for (const authority of signing) {
    const due = prepareDue(kind, authority, input.policy);
    if (due === undefined) return;
    if (endsWithParent(authority, parent)) continue;
    if (input.now >= due) {
      // one operation at a time, for all authorities of the same scope
      actions.push({
        type: 'open',
        kind,
        targets: signing
          .filter(({ scope }) => sameScope(scope, authority.scope))
          .map(({ id }) => id),
        parentId: null,
        trigger: 'schedule',
      });
      return;
    }
    notes.push({ code: 'WAITING_SCHEDULE', authorityId: authority.id, at: due, alert: false });
  }
}
