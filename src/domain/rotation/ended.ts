import { hasEnded, isIssuingKind, isRootKind, type Authority } from '../authority.ts';
import type { Confirmation } from './confirmation.ts';
import { parentOf, type Turn } from './turn.ts';
import type { ActivationProof, RotatedKind, RotationOperation } from './types.ts';

/** Active authorities whose key is ours and that are past their end: they sign nothing. */
const endedActive = (kind: RotatedKind, { input }: Turn): readonly Authority[] =>
  input.authorities
    .map(({ authority }) => authority)
    .filter(
      (authority) =>
        authority.kind === kind &&
        authority.state === 'active' &&
        authority.token !== 'external' &&
        hasEnded(authority, input.now),
    );

/** Says of each active authority that is past its end that it signs nothing. */
export function noteEnded(kind: RotatedKind, turn: Turn): void {
  for (const { id } of endedActive(kind, turn))
    turn.notes.push({ code: 'ENDED', authorityId: id, at: 0, alert: true });
}

/**
 * Whether an operator has to replace what has ended, since the schedule may not. Past the end of a
 * root nothing below it is valid, and whoever trusts it must take the next on somebody's word. Past
 * the end of an issuing authority nobody can confirm the next one, so that it is made by itself
 * only below an active root of ours, and where no operator needs the approval of others for it.
 */
export function endedByHand(
  kind: RotatedKind,
  signing: readonly Authority[],
  { input }: Turn,
): boolean {
  const ended = signing.filter((authority) => hasEnded(authority, input.now));
  if (ended.length === 0) return false;
  if (isRootKind(kind)) return ended.length === signing.length;
  if (kind === 'jwt' || input.policy.imported.includes(kind)) return false;
  return input.dualControl || parentOf(kind, null, input) === undefined;
}

/** The root that an operation is bound to, if it is past its end: it certifies nothing any more. */
export function endedParent(
  { kind, spec }: RotationOperation,
  { input, byId }: Turn,
): Authority | undefined {
  const parentId = byId.get(spec.successorId)?.authority.parentId ?? spec.parentId;
  if (!isIssuingKind(kind) || parentId === null) return undefined;
  const parent = byId.get(parentId)?.authority;
  return parent !== undefined && hasEnded(parent, input.now) ? parent : undefined;
}

/** Targets that signed until now, if all of them are past their end. */
function endedTargets(
  { spec }: RotationOperation,
  { input, byId }: Turn,
): readonly Authority[] | undefined {
  const active = spec.targets.flatMap((id) => {
    const target = byId.get(id)?.authority;
    return target?.state === 'active' ? [target] : [];
  });
  return active.length > 0 && active.every((target) => hasEnded(target, input.now))
    ? active
    : undefined;
}

/**
 * Past the end of what signed, nobody is left who could confirm: every leaf below has ended too.
 * An issuing authority under the same root, which everybody holds, then signs unconfirmed, on
 * record. An operator asked for it, or the schedule may go on without one. One in the standby token
 * needs the confirmations of before.
 */
export function endedProof(
  operation: RotationOperation,
  successor: Authority,
  turn: Turn,
): ActivationProof | undefined {
  const { input } = turn;
  const { kind, spec } = operation;
  const targets = endedTargets(operation, turn);
  const root = parentOf(kind, successor.parentId, input);
  if (
    kind !== 'issuing' ||
    input.clock !== 'believed' ||
    targets === undefined ||
    root === undefined ||
    successor.token !== 'issuing' ||
    targets.some(({ parentId }) => parentId !== root.id) ||
    !mayGoOn(spec.trigger, turn)
  )
    return undefined;
  return { kind: 'ended', ended: Math.max(...targets.map(({ notAfter }) => notAfter)) };
}

const mayGoOn = (trigger: RotationOperation['spec']['trigger'], { input }: Turn): boolean =>
  trigger === 'operator' ||
  (trigger === 'schedule' &&
    input.policy.prepareAtLifeFraction !== undefined &&
    !input.dualControl);

/**
 * Whether a confirmation says nothing: nobody had to confirm, since what signed has ended, and this
 * is no reason for this successor to sign by itself.
 */
export function isHollow(
  found: Confirmation,
  operation: RotationOperation,
  successor: Authority,
  turn: Turn,
): boolean {
  return (
    operation.kind === 'issuing' &&
    found.proven.needed === 0 &&
    endedTargets(operation, turn) !== undefined &&
    (successor.token === 'standby' ||
      (operation.spec.trigger === 'schedule' && turn.input.dualControl))
  );
}
