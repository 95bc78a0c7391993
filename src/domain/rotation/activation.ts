import type { Authority } from '../authority.ts';
import { isConfirmed } from './confirmation.ts';
import { endedProof, isHollow } from './ended.ts';
import { activationDeadline } from './schedule.ts';
import { wholeScope } from './scopes.ts';
import type { Turn } from './turn.ts';
import type { ActivationProof, RotationOperation } from './types.ts';

/** Whether a published successor may sign: it is forced, it is confirmed, or its time has come. */
export function activate(operation: RotationOperation, successor: Authority, turn: Turn): void {
  const { input, byId, actions, notes } = turn;
  const { spec } = operation;
  const scope = spec.canary?.steps[0] ?? wholeScope(spec, successor, byId);
  const go = (without: ActivationProof): void =>
    void actions.push({ type: 'activate', authority: successor, scope, without });
  if (spec.force !== undefined) {
    go({ kind: 'forced', ...spec.force });
    return;
  }
  const confirmation = input.confirmations.get(successor.id);
  const atEnd = endedProof(operation, successor, turn);
  if (atEnd !== undefined && (confirmation === undefined || confirmation.proven.needed === 0)) {
    go(atEnd);
    return;
  }
  // Proofs that rest on an expiry or a waiting time count only while the clock is believed.
  const confirmed =
    confirmation !== undefined &&
    input.clock === 'believed' &&
    isConfirmed(confirmation, spec.shares, input.now);
  if (confirmed && isHollow(confirmation, operation, successor, turn)) {
    notes.push({ code: 'WAITING_OPERATOR', authorityId: successor.id, at: 0, alert: true });
    return;
  }
  if (confirmed || atEnd !== undefined) {
    go(confirmed ? { kind: 'proven' } : (atEnd as ActivationProof));
    return;
  }
  const deadline = input.clock !== 'believed' ? undefined : deadlineOf(operation, turn);
  if (deadline !== undefined && input.now >= deadline && input.policy.onDeadline === 'proceed') {
    go({ kind: 'deadline', deadline });
    return;
  }
  if (deadline !== undefined) noteDeadline(successor, deadline, turn);
  if ((confirmation?.alteredAgents ?? 0) > 0)
    notes.push({ code: 'AGENTS_ALTERED', authorityId: successor.id, at: 0, alert: true });
  notes.push({
    code: 'WAITING_CONFIRMATION',
    authorityId: successor.id,
    at: Math.max(confirmation?.inferred.until ?? 0, confirmation?.unprovable.until ?? 0),
    alert: false,
  });
}

/** Noted when half of the time to the deadline is over. */
function noteDeadline(successor: Authority, at: number, { input, notes }: Turn): void {
  const { now } = input;
  const publishedAt = successor.publishedAt ?? now;
  const authorityId = successor.id;
  if (now >= at) notes.push({ code: 'DEADLINE_PASSED', authorityId, at, alert: true });
  else if (now >= publishedAt + (at - publishedAt) / 2)
    notes.push({ code: 'DEADLINE_NEAR', authorityId, at, alert: true });
}

function deadlineOf({ kind, spec }: RotationOperation, { input, byId }: Turn): number | undefined {
  const deadlines = spec.targets.flatMap((id) => {
    const target = byId.get(id)?.authority;
    return target === undefined || target.state !== 'active'
      ? []
      : [activationDeadline(kind, target, input.policy)];
  });
  return deadlines.length === 0 ? undefined : Math.min(...deadlines);
}
