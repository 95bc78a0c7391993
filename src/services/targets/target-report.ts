import { PkiError, unwrap } from '../../common/errors/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import {
  targetStates,
  type ReportedTarget,
  type TargetRollout,
  type TargetSet,
  type TargetState,
} from '../../domain/index.ts';
import { checkText } from '../requests.ts';

/** A target as it came from the agent. */
export interface StatedTarget {
  readonly name: string;
  readonly driver: string;
  readonly state: string;
  readonly reason: string;
  readonly next: string;
  readonly spiffeId: string;
  readonly names: readonly string[];
  readonly since: number;
  readonly sets: readonly TargetSet[];
  readonly rollout: TargetRollout | null | undefined;
  readonly waitsFor: string;
  readonly turn: { readonly set: string; readonly part: string } | null | undefined;
}

export interface TargetReport {
  readonly snapshot: boolean;
  readonly targets: readonly StatedTarget[];
  readonly removedNames: readonly string[];
}

/** What came of a command; an empty code: it was done. */
export interface TargetAnswer {
  readonly commandId: string;
  readonly code: string;
  readonly message: string;
  readonly next: string;
}

export const maximumTargets = 200;
const maximumSets = 20;
const maximumNames = 20;
const namePattern = /^[a-z0-9-]{1,63}$/;
const setPattern = /^[0-9]{1,12}-[0-9a-f]{2,40}$/;

/**
 * The targets of a report, checked: what an agent states is shown to people and kept in memory.
 *
 * @throws PkiError INVALID_REQUEST, REQUEST_TOO_LARGE, SPIFFE_ID_*
 */
export function checkTarget(stated: StatedTarget): ReportedTarget {
  if (!namePattern.test(stated.name))
    throw new PkiError('INVALID_REQUEST', 'the name of a target is not 1 to 63 of [a-z0-9-]');
  if (!targetStates.includes(stated.state as TargetState))
    throw new PkiError(
      'INVALID_REQUEST',
      `the state ${JSON.stringify(stated.state.slice(0, 40))} of a target is not one of ${targetStates.join(', ')}`,
    );
  if (stated.spiffeId !== '') unwrap(SpiffeId.parse(stated.spiffeId));
  if (stated.sets.length > maximumSets)
    throw new PkiError('REQUEST_TOO_LARGE', `a target reports at most ${maximumSets} sets`);
  if (stated.names.length > maximumNames)
    throw new PkiError('REQUEST_TOO_LARGE', `a target reports at most ${maximumNames} names`);
  return {
    name: stated.name,
    driver: checkText('driver', stated.driver, 64),
    state: stated.state as TargetState,
    reason: checkText('target reason', stated.reason, 500),
    next: checkText('target next', stated.next, 500),
    spiffeId: stated.spiffeId,
    names: stated.names.map((name) => checkText('target name', name, 255)),
    since: instantOrZero(stated.since),
    sets: stated.sets.map(checkSet),
    rollout: stated.rollout ? checkRollout(stated.rollout) : undefined,
    waitsFor:
      stated.waitsFor === 'turn' || stated.waitsFor === 'hand' ? stated.waitsFor : 'nothing',
    turn: stated.turn ? checkTurn(stated.turn) : undefined,
  };
}

function checkSet({ name, serial, notBefore, notAfter, current }: TargetSet): TargetSet {
  if (!setPattern.test(name) || !name.endsWith(`-${serial}`))
    throw new PkiError('INVALID_REQUEST', 'the name of a set is not its number and its serial');
  return {
    ...{ name, serial, current },
    notBefore: instantOrZero(notBefore),
    notAfter: instantOrZero(notAfter),
  };
}

function checkRollout({ group, canaryShare, observeSeconds }: TargetRollout): TargetRollout {
  if (!namePattern.test(group))
    throw new PkiError('INVALID_REQUEST', 'the name of a group is not 1 to 63 of [a-z0-9-]');
  return {
    group,
    canaryShare: Number.isFinite(canaryShare) ? Math.min(1, Math.max(0, canaryShare)) : 0,
    observeSeconds: countOrZero(observeSeconds),
  };
}

function checkTurn({ set, part }: { readonly set: string; readonly part: string }) {
  if (!setPattern.test(set) || (part !== 'canary' && part !== 'rest'))
    throw new PkiError('INVALID_REQUEST', 'the turn of a target names no set and part');
  return { set, part } as const;
}

const countOrZero = (value: number): number =>
  Number.isSafeInteger(value) && value > 0 ? value : 0;

/** 9999-12-31T23:59:59Z, the last instant of a certificate (RFC 5280 section 4.1.2.5). */
const lastInstant = 253_402_300_799;

/** A later one could be shown to nobody. */
const instantOrZero = (value: number): number => Math.min(lastInstant, countOrZero(value));
