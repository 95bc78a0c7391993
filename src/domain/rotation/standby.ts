import { hasEnded, isIssuingKind, type Authority } from '../authority.ts';
import { isConfirmed } from './confirmation.ts';
import { activationDeadline, endsWithParent } from './schedule.ts';
import type { Turn } from './turn.ts';
import { allShares, type RotatedKind, type RotationOperation } from './types.ts';

/**
 * True for an authority in the standby token that does not sign yet and belongs to no operation.
 */
export const isStandby = (authority: Authority): boolean =>
  authority.token === 'standby' && ['preparing', 'prepared', 'published'].includes(authority.state);

/**
 * Keeps one authority of a kind ready in the standby token, below the root that signs now. It is
 * made, published, confirmed, and then left unused. It is replaced when its root is, or before it
 * could no longer sign for a full life. If the policy says so, it takes over automatically after
 * the issuing token has been away for some time. Pure.
 *
 * @param parent the root that signs now, for an issuing authority
 */
export function keepStandby(kind: RotatedKind, parent: Authority | undefined, turn: Turn): void {
  const { input } = turn;
  const all = input.authorities
    .map(({ authority }) => authority)
    .filter((authority) => authority.kind === kind);
  const signing = all.filter(
    ({ state, token, scope }) =>
      state === 'active' && token !== 'external' && Object.keys(scope).length === 0,
  );
  // an authority that already signs from the standby token has no standby until the other token is
  // back
  if (signing.length === 0 || !signing.every(({ token }) => token === 'issuing')) return;
  if (isIssuingKind(kind) && parent === undefined) return;
  const running = input.operations.filter((operation) => operation.kind === kind);
  const standbys = all.filter(
    (authority) =>
      isStandby(authority) && !running.some(({ spec }) => spec.successorId === authority.id),
  );
  const ready = standbys.findLast((authority) => fits(authority, parent, turn));
  bringUp(kind, ready, parent, turn);
  const candidate = standbys.findLast(({ state }) => state === 'published');
  const confirmation = candidate === undefined ? undefined : input.confirmations.get(candidate.id);
  // after the end of the signing authorities nobody has to confirm any more, which proves nothing
  const over = signing.every((authority) => hasEnded(authority, input.now));
  const confirmed =
    confirmation !== undefined &&
    isConfirmed(confirmation, allShares, input.now) &&
    !(over && confirmation.proven.needed === 0);
  noteStandby(candidate, confirmed, turn);
  // the earlier standby stays until every consumer holds the present one
  for (const authority of standbys)
    if (authority !== ready && ready?.state === 'published' && confirmed)
      turn.actions.push({ type: 'drop', authority });
  // authorities of one replica or region can not sign either; the standby signs everywhere
  const lost = all.filter(({ state, token }) => state === 'active' && token === 'issuing');
  if (candidate !== undefined && confirmed && takeoverDue(turn))
    takeOver({ kind, candidate, lost, running: running[0] }, turn);
}

/**
 * True if it is below the root that signs now, and has a full life left, or as much as any other
 * would have below that root.
 */
function fits(authority: Authority, parent: Authority | undefined, { input }: Turn): boolean {
  const { kind, notBefore, notAfter, parentId, state } = authority;
  if (parentId !== (parent?.id ?? null)) return false;
  if (state === 'preparing') return true;
  if (endsWithParent(authority, parent)) return input.now < notAfter;
  const halfway = notBefore + Math.floor((notAfter - notBefore) / 2);
  const deadline = activationDeadline(kind as RotatedKind, authority, input.policy);
  return input.now < Math.min(halfway, deadline);
}

/** Makes the standby, or publishes it. The parent's key may be in a lost token. */
function bringUp(
  kind: RotatedKind,
  ready: Authority | undefined,
  parent: Authority | undefined,
  { input, actions }: Turn,
): void {
  if (ready === undefined || ready.state === 'preparing') {
    if (input.issuingTokenLostAt === undefined || !isIssuingKind(kind))
      actions.push({
        type: 'standby',
        kind,
        parentId: parent?.id ?? null,
        ...(ready === undefined ? {} : { authority: ready }),
      });
  } else if (ready.state === 'prepared') actions.push({ type: 'publish', authority: ready });
}

function noteStandby(
  candidate: Authority | undefined,
  confirmed: boolean,
  { input, notes }: Turn,
): void {
  if (candidate !== undefined)
    notes.push({
      code: confirmed ? 'STANDBY_READY' : 'STANDBY_WAITING',
      authorityId: candidate.id,
      at: 0,
      alert: false,
    });
  const { issuingTokenLostAt: lostAt, policy } = input;
  if (lostAt !== undefined)
    notes.push({
      code: 'TOKEN_LOST',
      authorityId: candidate?.id ?? '',
      at: policy.standbyAfterSeconds === undefined ? 0 : lostAt + policy.standbyAfterSeconds,
      alert: true,
    });
}

/** True if the issuing token has been away as long as the policy waits. */
function takeoverDue({ input: { issuingTokenLostAt: lostAt, policy, now } }: Turn): boolean {
  return (
    lostAt !== undefined &&
    policy.standbyAfterSeconds !== undefined &&
    now >= lostAt + policy.standbyAfterSeconds
  );
}

/** The standby replaces the lost authorities, once no operation is under way. */
function takeOver(
  standby: {
    readonly kind: RotatedKind;
    readonly candidate: Authority;
    readonly lost: readonly Authority[];
    readonly running: RotationOperation | undefined;
  },
  { actions }: Turn,
): void {
  const { kind, candidate, lost, running } = standby;
  actions.push(
    running === undefined
      ? {
          type: 'open',
          kind,
          targets: lost.map(({ id }) => id),
          parentId: null,
          trigger: 'token',
          successorId: candidate.id,
        }
      : {
          type: 'cancel',
          operation: running,
          reason: 'the issuing token is lost: the standby signs',
        },
  );
}
