import {
  endedStates,
  isRootKind,
  issuingKindBelow,
  type Authority,
  type AuthorityScope,
} from '../authority.ts';
import { judgeCanary } from './canary.ts';
import { nextScope, sameScope, wholeScope } from './scopes.ts';
import type { DecisionInput, Turn } from './turn.ts';
import type { RenewalFacts, RotationOperation } from './types.ts';

/** Maximum number of named agents with failing handshakes; the worst come first. */
const maximumNamedAgents = 20;

/**
 * The successor signs: its scope is widened to everything, then the earlier authorities stop. Done
 * when they have stopped.
 */
export function handOver(operation: RotationOperation, successor: Authority, turn: Turn): void {
  const { spec } = operation;
  const whole = wholeScope(spec, successor, turn.byId);
  const next = nextScope(successor, spec.canary?.steps, whole);
  if (next === undefined) replaceTargets(operation, successor, turn);
  else widen(operation, successor, next, turn);
}

/** Takes the next step of a canary, if its time has come and the failures are within the limit. */
function widen(
  { spec }: RotationOperation,
  successor: Authority,
  next: { readonly scope: AuthorityScope; readonly index: number },
  { input, actions, notes }: Turn,
): void {
  const { id: authorityId, activatedAt } = successor;
  const accepted = spec.canary?.maximumFailureRate ?? 0;
  const heldUntil = (activatedAt ?? input.now) + (spec.canary?.holdSeconds ?? 0) * next.index;
  const disregarded = spec.canary?.disregarded ?? [];
  const heard = (input.handshakes.get(authorityId) ?? []).filter(
    ({ agentId }) => !disregarded.includes(agentId),
  );
  const verdict = judgeCanary(heard, {
    maximumFailureRate: accepted,
    lyingShare: input.policy.canaryLyingShare,
  });
  const agents = verdict.failing.slice(0, maximumNamedAgents);
  if (verdict.failureRate > accepted) {
    notes.push({ code: 'CANARY_FAILING', authorityId, at: 0, alert: true, agents });
    return;
  }
  const renewals = input.renewals?.get(authorityId);
  if (renewals !== undefined && isWorse(renewals, accepted)) {
    notes.push({ code: 'CANARY_RENEWALS', authorityId, at: 0, alert: true });
    return;
  }
  if (agents.length > 0)
    notes.push({ code: 'CANARY_NODES_FAILING', authorityId, at: 0, alert: true, agents });
  if (verdict.reporters === 0)
    notes.push({ code: 'CANARY_UNREPORTED', authorityId, at: heldUntil, alert: false });
  if (input.clock !== 'believed' || input.now < heldUntil)
    notes.push({ code: 'WAITING_CANARY', authorityId, at: heldUntil, alert: false });
  else actions.push({ type: 'widen', authority: successor, scope: next.scope });
}

function replaceTargets(operation: RotationOperation, successor: Authority, turn: Turn): void {
  const { spec } = operation;
  const { input, byId, actions } = turn;
  const taint = spec.targetsBecome === 'tainted';
  const open = spec.targets.flatMap((id) => {
    const target = byId.get(id)?.authority;
    return target === undefined || target.id === successor.id || isOver(target, taint)
      ? []
      : [target];
  });
  for (const target of open) {
    // the taint of a root taints the authorities below it, so that others must be able to sign
    // first
    const replaced = !isRootKind(target.kind) || signsOutside(target.kind, target.id, input);
    if (taint && replaced)
      actions.push({
        type: 'taint',
        authority: target,
        windowSeconds: spec.taintWindowSeconds ?? 0,
      });
    else if (target.state === 'active')
      actions.push({ type: 'supersede', authority: target, by: successor.id });
  }
  if (open.length === 0 && !ownsOrphans(operation, turn))
    actions.push({ type: 'finish', operation });
}

/**
 * The force of a root's operation is valid for the whole chain. The operation stays under way until
 * each issuing authority below its targets has its own operation, which inherits the force.
 */
function ownsOrphans({ kind, spec }: RotationOperation, { input }: Turn): boolean {
  if (!isRootKind(kind) || spec.force === undefined) return false;
  const below = issuingKindBelow(kind);
  const replaced = new Set(input.operations.flatMap((operation) => operation.spec.targets));
  return input.authorities.some(
    ({ authority }) =>
      authority.kind === below &&
      authority.state === 'active' &&
      authority.token !== 'external' &&
      spec.targets.includes(authority.parentId ?? '') &&
      !replaced.has(authority.id),
  );
}

/** An old authority ends with time and needs no operation, unless it must be tainted. */
const isOver = ({ state }: Authority, taint: boolean): boolean =>
  endedStates.includes(state) || state === 'tainted' || (!taint && state === 'old');

/**
 * True if the rate of failed requests to this authority exceeds that of the others by more than
 * accepted.
 */
function isWorse(
  { signed, failed, othersSigned, othersFailed }: RenewalFacts,
  accepted: number,
): boolean {
  const share = (bad: number, good: number): number => (bad + good === 0 ? 0 : bad / (bad + good));
  return share(failed, signed) > share(othersFailed, othersSigned) + accepted;
}

/**
 * Whether an authority below another root can stand in. If one below this root signs everywhere,
 * one below another root must sign everywhere too.
 */
function signsOutside(
  rootKind: 'root' | 'names-root',
  rootId: string,
  { authorities }: DecisionInput,
): boolean {
  const signing = authorities
    .map(({ authority }) => authority)
    .filter(({ kind, state }) => kind === issuingKindBelow(rootKind) && state === 'active');
  const everywhere = signing.some(
    ({ parentId, scope }) => parentId === rootId && sameScope(scope, {}),
  );
  return signing.some(
    ({ parentId, scope }) => parentId !== rootId && (!everywhere || sameScope(scope, {})),
  );
}
