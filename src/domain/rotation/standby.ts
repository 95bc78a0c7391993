import type { Authority } from '../authority.ts';
import { isConfirmed } from './confirmation.ts';
import type { DecisionInput } from './decide.ts';
import { activationDeadline } from './schedule.ts';
import { allShares, type RotatedKind, type RotationAction, type RotationNote } from './types.ts';

/** In the standby token, not signing yet, and of no operation. */
export const isStandby = (authority: Authority): boolean =>
  authority.token === 'standby' && ['preparing', 'prepared', 'published'].includes(authority.state);

/** The newest standby of a kind that everybody may be asked to trust. */
export const publishedStandby = (
  kind: RotatedKind,
  authorities: readonly Authority[],
): Authority | undefined =>
  authorities.findLast(
    (each) => each.kind === kind && each.token === 'standby' && each.state === 'published',
  );

/**
 * Keeps one authority of a kind ready in the standby token, under the root that signs now: made,
 * published, confirmed, and left alone; replaced when its root is, or before it could no longer
 * sign for a full life. When policy says so, it takes over by itself once the issuing token has
 * been away for long enough. Pure.
 * @param parent the root that signs now, for an issuing authority
 */
export function keepStandby(
  kind: RotatedKind,
  input: DecisionInput,
  parent: Authority | undefined,
  actions: RotationAction[],
  notes: RotationNote[],
): void {
  const all = input.authorities
    .map(({ authority }) => authority)
    .filter((authority) => authority.kind === kind);
  const signing = all.filter(
    ({ state, token, scope }) =>
      state === 'active' && token !== 'external' && Object.keys(scope).length === 0,
  );
  // those of one replica or region can not sign either; the standby does everywhere
  const lost = all.filter(({ state, token }) => state === 'active' && token === 'issuing');
  const running = input.operations.filter((operation) => operation.kind === kind);
  const held = all.filter(
    (authority) =>
      isStandby(authority) && !running.some(({ spec }) => spec.successorId === authority.id),
  );
  // who signs from the standby token already has nobody to stand in for him until the other token
  // is back
  if (signing.length === 0 || !signing.every(({ token }) => token === 'issuing')) return;
  if (kind === 'issuing' && parent === undefined) return;
  const halfway = (authority: Authority): number =>
    authority.notBefore + Math.floor((authority.notAfter - authority.notBefore) / 2);
  const fits = (authority: Authority): boolean =>
    authority.parentId === (parent?.id ?? null) &&
    (authority.state === 'preparing' ||
      input.now < Math.min(halfway(authority), activationDeadline(kind, authority, input.policy)));
  const ready = held.findLast(fits);
  const lostAt = input.issuingTokenLostAt;
  if (ready === undefined || ready.state === 'preparing') {
    if (lostAt === undefined || kind !== 'issuing')
      actions.push({
        type: 'standby',
        kind,
        parentId: parent?.id ?? null,
        ...(ready === undefined ? {} : { authority: ready }),
      });
  } else if (ready.state === 'prepared') actions.push({ type: 'publish', authority: ready });
  const candidate = held.findLast(({ state }) => state === 'published');
  const found = candidate === undefined ? undefined : input.confirmations.get(candidate.id);
  const confirmed = found !== undefined && isConfirmed(found, allShares, input.now);
  if (candidate !== undefined)
    notes.push({
      code: confirmed ? 'STANDBY_READY' : 'STANDBY_WAITING',
      authorityId: candidate.id,
      at: 0,
      alert: false,
    });
  if (lostAt !== undefined)
    notes.push({
      code: 'TOKEN_LOST',
      authorityId: candidate?.id ?? '',
      at:
        input.policy.standbyAfterSeconds === undefined
          ? 0
          : lostAt + input.policy.standbyAfterSeconds,
      alert: true,
    });
  for (const authority of held) {
    if (authority === ready) continue;
    // the one before stays until everybody holds the one that stands by now
    if (ready !== undefined && ready.state === 'published' && confirmed)
      actions.push({ type: 'drop', authority });
  }
  if (
    candidate === undefined ||
    !confirmed ||
    lostAt === undefined ||
    input.policy.standbyAfterSeconds === undefined ||
    input.now < lostAt + input.policy.standbyAfterSeconds
  )
    return;
  const [under] = running;
  if (under === undefined)
    actions.push({
      type: 'open',
      kind,
      targets: lost.map(({ id }) => id),
      parentId: null,
      trigger: 'token',
      successorId: candidate.id,
    });
  else
    actions.push({
      type: 'cancel',
      operation: under,
      reason: 'the issuing token is lost: the standby signs',
    });
}
