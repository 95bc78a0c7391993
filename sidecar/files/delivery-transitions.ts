import type { TargetEvent } from '../ports/file-targets.ts';
import type { PkiError } from '../../src/common/errors/index.ts';
import type { DeliveryContext, DeliveryEvent } from './delivery-event.ts';
import {
  stateOf,
  type DeliveredSet,
  type DeliveryRecord,
  type DeliveryStep,
} from './delivery-record.ts';
import { failed, obstacleOf, takenBack } from './delivery-setbacks.ts';

const maximumHistory = 30;
/** A set whose removal failed is tried again after this (seconds). */
const removalRetrySeconds = 300;

/** The decision: pure, and total. What an event does not concern stays as it is. */
export function next(
  record: DeliveryRecord,
  event: DeliveryEvent,
  context: DeliveryContext,
): DeliveryRecord {
  return remembered(record, decide(record, event, context), event, context.now);
}

function decide(
  record: DeliveryRecord,
  event: DeliveryEvent,
  context: DeliveryContext,
): DeliveryRecord {
  switch (event.kind) {
    case 'failed':
      // where nothing is served yet, the server may need the files before it can be asked
      return record.step === 'offer' &&
        record.served === undefined &&
        event.error.code !== 'DRIVER_REFUSED'
        ? offered(record, context)
        : failed(record, event.error, context);
    case 'due':
      return due(record, event.stageOnly);
    case 'promoted':
      return record.step === 'rest' && record.candidate !== undefined && !record.swapped
        ? {
            ...record,
            step: 'check',
            promoted: true,
            waitsFor: 'nothing',
            resume: undefined,
            retryAt: 0,
          }
        : record;
    case 'retry':
      return retried(record);
    case 'rolled-back-by-hand':
      return byHand(record, event.to, context.now);
    case 'restarted':
      return restarted(record);
    case 'stapled':
      return record.unstapled === undefined ? record : { ...record, unstapled: undefined };
    case 'unstapled':
      return { ...record, unstapled: obstacleOf(event.error) };
    case 'found':
      return found(record, event.current, event.error, context);
    case 'removed':
      return {
        ...record,
        retired: record.retired.filter(({ set }) => set.name !== event.set.name),
      };
    case 'not-removed':
      return {
        ...record,
        retired: record.retired.map((each) =>
          each.set.name === event.set.name
            ? { ...each, removeAt: context.now + removalRetrySeconds }
            : each,
        ),
      };
    default:
      return advanced(record, event, context);
  }
}

function due(record: DeliveryRecord, stageOnly: boolean): DeliveryRecord {
  if (record.step !== 'rest') return record;
  // files that could not be put back come first
  const step = record.resume === 'swap-back' ? 'swap-back' : 'lease';
  return { ...record, step, stageOnly, retryAt: 0 };
}

type StepEvent = Extract<
  DeliveryEvent,
  {
    readonly kind:
      | 'leased'
      | 'checked'
      | 'offered'
      | 'swapped'
      | 'applied'
      | 'verified'
      | 'shown'
      | 'swapped-back'
      | 'driver-back'
      | 'shown-back';
  }
>;

const stepOf: Readonly<Record<StepEvent['kind'], DeliveryStep>> = {
  leased: 'lease',
  checked: 'check',
  offered: 'offer',
  swapped: 'swap',
  applied: 'apply',
  verified: 'verify',
  shown: 'prove',
  'swapped-back': 'swap-back',
  'driver-back': 'driver-back',
  'shown-back': 'prove-back',
};

/** The step succeeded. */
function advanced(
  record: DeliveryRecord,
  event: StepEvent,
  context: DeliveryContext,
): DeliveryRecord {
  if (record.step !== stepOf[event.kind]) return record;
  switch (event.kind) {
    case 'leased':
      return leased(record, event.set, context.now);
    case 'checked':
      return { ...record, step: 'offer' };
    case 'offered':
      return offered(record, context);
    case 'swapped':
      return { ...record, step: 'apply', unstapled: undefined };
    case 'applied':
      return { ...record, step: 'verify', trust: event.trusted ? 'proven' : 'unprovable' };
    case 'verified': {
      const trusted = event.trusted || record.trust === 'proven';
      const trust = trusted ? 'proven' : 'unprovable';
      return context.hasListeners
        ? { ...record, step: 'prove', trust }
        : delivered({ ...record, trust }, 'applied', context);
    }
    case 'shown': {
      const trusted = event.trusted || record.trust === 'proven';
      return delivered({ ...record, trust: trusted ? 'proven' : 'inferred' }, 'proven', context);
    }
    case 'swapped-back':
      return { ...record, swapped: false, step: 'driver-back', unstapled: undefined };
    case 'driver-back':
      return context.hasListeners && record.served !== undefined
        ? { ...record, step: 'prove-back' }
        : takenBack({ ...record, trust: 'unprovable' }, context);
    case 'shown-back':
      return takenBack({ ...record, trust: event.trusted ? 'proven' : 'inferred' }, context);
  }
}

function leased(record: DeliveryRecord, set: DeliveredSet, now: number): DeliveryRecord {
  const before = record.candidate;
  // a first set that never proved itself: it is what there is to go back to
  const adopted = record.swapped ? before : undefined;
  return {
    ...record,
    step: 'check',
    candidate: set,
    served: adopted ?? record.served,
    swapped: false,
    retired:
      before === undefined || adopted !== undefined
        ? record.retired
        : [...record.retired, { set: before, removeAt: now }],
    waitsFor: 'nothing',
    tried: false,
    promoted: false,
    resume: undefined,
    // what hindered the lease is over
    obstacle: undefined,
  };
}

function offered(record: DeliveryRecord, { promote, inRollout }: DeliveryContext): DeliveryRecord {
  const waitsFor = record.promoted
    ? 'nothing'
    : promote === 'by hand' || record.stageOnly
      ? 'hand'
      : // a group guards what is served; where nothing is, nothing can be lost
        inRollout && record.served !== undefined
        ? 'turn'
        : 'nothing';
  if (waitsFor === 'nothing') return { ...record, step: 'swap', swapped: true };
  return {
    ...record,
    step: 'rest',
    waitsFor,
    tried: false,
    stageOnly: false,
    obstacle: undefined,
    failures: 0,
    retryAt: 0,
  };
}

function delivered(
  record: DeliveryRecord,
  outcome: 'proven' | 'applied',
  { now, graceSeconds }: DeliveryContext,
): DeliveryRecord {
  const { served: before, candidate } = record;
  const otherRootsUntil =
    before === undefined
      ? record.trust === 'unprovable'
        ? (candidate?.notAfter ?? 0)
        : 0
      : before.authoritySetDigest === candidate?.authoritySetDigest
        ? 0
        : before.notAfter;
  return {
    ...record,
    step: 'rest',
    served: candidate,
    candidate: undefined,
    swapped: false,
    outcome,
    otherRootsUntil:
      record.trust === 'proven' ? 0 : Math.max(record.otherRootsUntil, otherRootsUntil),
    tried: false,
    promoted: false,
    held: false,
    resume: undefined,
    obstacle: undefined,
    failures: 0,
    retryAt: 0,
    retired:
      before === undefined
        ? record.retired
        : [...record.retired, { set: before, removeAt: now + graceSeconds }],
  };
}

function retried(record: DeliveryRecord): DeliveryRecord {
  if (record.step !== 'rest') return record;
  const base: DeliveryRecord = { ...record, retryAt: 0 };
  if (record.resume !== undefined) return { ...base, step: record.resume, resume: undefined };
  if (record.candidate === undefined) return { ...base, step: 'lease', stageOnly: false };
  return record.waitsFor === 'nothing' ? { ...base, step: 'check', promoted: true } : base;
}

function byHand(record: DeliveryRecord, to: DeliveredSet, now: number): DeliveryRecord {
  if (record.step !== 'rest' || record.served === undefined) return record;
  const { candidate } = record;
  return {
    ...record,
    step: 'swap-back',
    candidate: record.served,
    served: to,
    swapped: true,
    held: true,
    tried: true,
    resume: undefined,
    obstacle: undefined,
    waitsFor: 'nothing',
    retired: [
      ...record.retired.filter(({ set }) => set.name !== to.name),
      ...(candidate === undefined ? [] : [{ set: candidate, removeAt: now }]),
    ],
  };
}

/** The process was killed at this step, or ended. */
function restarted(record: DeliveryRecord): DeliveryRecord {
  switch (record.step) {
    case 'rest':
    case 'check':
    case 'swap-back':
      return record;
    case 'lease':
      return { ...record, step: 'rest', retryAt: 0 };
    case 'offer':
      return { ...record, step: 'check' };
    case 'swap':
    case 'apply':
    case 'verify':
    case 'prove':
      // the set may have ended meanwhile
      return { ...record, step: 'check', promoted: true };
    case 'driver-back':
    case 'prove-back':
      return { ...record, step: 'swap-back' };
  }
}

function found(
  record: DeliveryRecord,
  current: DeliveredSet | undefined,
  error: PkiError,
  { now, graceSeconds }: DeliveryContext,
): DeliveryRecord {
  if (record.step !== 'rest') return record;
  const { served, candidate } = record;
  const left = [served, candidate].filter(
    (each): each is DeliveredSet => each !== undefined && each.name !== current?.name,
  );
  return {
    ...record,
    served: current,
    candidate: undefined,
    swapped: false,
    waitsFor: 'nothing',
    tried: false,
    resume: undefined,
    trust: 'unprovable',
    outcome: current === undefined ? 'failed' : 'applied',
    obstacle: obstacleOf(error),
    retired: [
      ...record.retired.filter(({ set }) => set.name !== current?.name),
      // a server may have it loaded
      ...left.map((set) => ({ set, removeAt: now + graceSeconds })),
    ],
  };
}

/** Notes what is new, for people. */
function remembered(
  before: DeliveryRecord,
  after: DeliveryRecord,
  event: DeliveryEvent,
  now: number,
): DeliveryRecord {
  if (after === before) return before;
  const state = stateOf(after);
  const error = 'error' in event ? event.error : undefined;
  const isNew = state !== stateOf(before);
  if (!isNew && error === undefined) return after;
  const note = error === undefined ? (noteOf[event.kind] ?? '') : `${error.code}: ${error.message}`;
  const set = (after.candidate ?? after.served)?.name ?? '';
  const last = before.history.at(-1);
  const repeats = last?.set === set && last.state === state && last.note === note;
  const entry: TargetEvent = { at: now, set, state, note };
  return {
    ...after,
    since: isNew ? now : before.since,
    // of the same failure again and again only the last one is kept
    history: [...(repeats ? before.history.slice(0, -1) : before.history), entry].slice(
      -maximumHistory,
    ),
  };
}

const noteOf: Readonly<Partial<Record<DeliveryEvent['kind'], string>>> = {
  offered: 'on disk and checked',
  applied: 'the driver told the server',
  verified: 'the driver asked the server',
  shown: 'every listener shows it',
  promoted: 'goes on, by a hand or its turn',
  'rolled-back-by-hand': 'an operator takes the set before',
  'shown-back': 'every listener shows the set before',
  restarted: 'the agent started again',
  retry: 'tried again',
};
