import { activate } from './activation.ts';
import { noteAltered } from './altered.ts';
import { begin } from './begin.ts';
import { isIssuingKind } from '../authority.ts';
import { clockCode } from './clock.ts';
import { missingCross } from './cross.ts';
import { endedParent, noteEnded } from './ended.ts';
import { handOver } from './hand-over.ts';
import { dropWithRoot, endLife, taintWithRoot } from './life-end.ts';
import { keepStandby } from './standby.ts';
import { parentOf, type Decision, type DecisionInput, type Turn } from './turn.ts';
import { rotatedKinds, type RotationNote, type RotationOperation } from './types.ts';

/**
 * Decides what must be done now. Pure: the same input gives the same answer. A completed action is
 * not requested again; an action that was lost in a crash is.
 */
export function decide(input: DecisionInput): Decision {
  const turn: Turn = {
    input,
    byId: new Map(input.authorities.map((facts) => [facts.authority.id, facts])),
    actions: [],
    notes: [],
  };
  const free = noteAltered(turn);
  for (const operation of input.operations)
    if (operation.state === 'running' && free(operation.kind)) advance(operation, turn);
  for (const facts of input.authorities) {
    taintWithRoot(facts.authority, turn);
    dropWithRoot(facts.authority, turn);
    if (free(facts.authority.kind)) endLife(facts, turn);
  }
  for (const kind of rotatedKinds) noteEnded(kind, turn);
  if (input.clock !== 'believed') {
    turn.notes.push({ code: clockCode(input.clock), authorityId: '', at: 0, alert: true });
  } else {
    for (const kind of rotatedKinds.filter(free)) begin(kind, turn);
    for (const kind of (input.policy.standby ?? []).filter(free))
      keepStandby(kind, parentOf(kind, null, input), turn);
  }
  return { actions: turn.actions, notes: turn.notes };
}

function advance(operation: RotationOperation, turn: Turn): void {
  const { input, byId, actions, notes } = turn;
  const { spec } = operation;
  const successor = byId.get(spec.successorId)?.authority;
  const wait = (code: RotationNote['code'], at = 0, alert = false): void =>
    void notes.push({ code, authorityId: spec.successorId, at, alert });
  // with a wrong clock, the dates of a certificate and the time of publication would be wrong
  if (input.clock !== 'believed' && spec.force === undefined && successor?.state !== 'active') {
    wait(clockCode(input.clock));
    return;
  }
  if (successor === undefined || successor.state === 'preparing') {
    const ended = endedParent(operation, turn);
    if (input.policy.imported.includes(operation.kind)) wait('WAITING_IMPORT');
    else if (ended !== undefined)
      // it would fail for ever, and hold up the next rotation of its kind
      actions.push({
        type: 'cancel',
        operation,
        reason: `the root ${ended.id}, which was to certify the new authority, is past its end`,
      });
    else if (
      successor === undefined &&
      isIssuingKind(operation.kind) &&
      parentOf(operation.kind, spec.parentId, input) === undefined
    )
      wait('WAITING_CONFIRMATION');
    else actions.push({ type: 'prepare', operation });
    return;
  }
  switch (successor.state) {
    case 'prepared':
      if (spec.stopAfter === 'prepared') wait('WAITING_OPERATOR');
      else actions.push({ type: 'publish', authority: successor });
      return;
    case 'published': {
      const from = missingCross(operation, successor, turn);
      if (from !== undefined) actions.push({ type: 'cross', from, to: successor });
      else if (spec.stopAfter === 'published') wait('WAITING_OPERATOR');
      else activate(operation, successor, turn);
      return;
    }
    case 'active':
      handOver(operation, successor, turn);
      return;
    default:
      // an operator withdrew, tainted or ended the successor: the operation is finished
      actions.push({ type: 'finish', operation });
  }
}
