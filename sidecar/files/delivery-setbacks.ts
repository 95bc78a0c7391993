import type { PkiError } from '../../src/common/errors/index.ts';
import type { DeliveryContext } from './delivery-event.ts';
import type { DeliveryRecord, Obstacle } from './delivery-record.ts';

/** The set before is served again. */
export function takenBack(record: DeliveryRecord, context: DeliveryContext): DeliveryRecord {
  // by hand stays by hand; and what the server itself refused is not offered again
  const refused = record.obstacle?.code === 'DRIVER_REFUSED' && !record.held;
  const { candidate, served } = record;
  const waitsFor = !refused && (record.held || context.promote === 'by hand') ? 'hand' : 'nothing';
  const otherRoots =
    candidate !== undefined && candidate.authoritySetDigest !== served?.authoritySetDigest;
  const rest: DeliveryRecord = {
    ...record,
    step: 'rest',
    promoted: false,
    tried: true,
    resume: undefined,
    outcome: record.served === undefined ? 'failed' : 'rolled-back',
    waitsFor,
    // the server may have loaded the roots of the set that was taken back
    otherRootsUntil:
      record.trust === 'proven'
        ? 0
        : Math.max(record.otherRootsUntil, otherRoots ? candidate.notAfter : 0),
    retryAt: waitsFor === 'hand' ? 0 : context.now + context.retryDelaySeconds(record.failures),
  };
  return refused && candidate !== undefined
    ? {
        ...rest,
        candidate: undefined,
        retired: [...record.retired, { set: candidate, removeAt: context.now }],
      }
    : rest;
}

/** The step that ran did not succeed. */
export function failed(
  record: DeliveryRecord,
  error: PkiError,
  context: DeliveryContext,
): DeliveryRecord {
  if (record.step === 'rest') return record;
  const failures = record.failures + 1;
  const retryAt = context.now + context.retryDelaySeconds(failures);
  const before: DeliveryRecord = { ...record, failures, obstacle: obstacleOf(error) };
  switch (record.step) {
    case 'lease':
      return { ...before, step: 'rest', retryAt };
    case 'check':
    case 'offer':
      return record.swapped
        ? { ...before, step: 'swap-back' }
        : unfit(before, error, { ...context, retryAt });
    case 'swap':
    case 'apply':
    case 'verify':
    case 'prove':
      // where nothing was served before, there is nothing to go back to: the set stays, unless the
      // server itself refused it
      return record.served === undefined && record.step !== 'swap' && !refuses(error)
        ? { ...before, step: 'rest', outcome: 'failed', resume: 'apply', retryAt }
        : { ...before, step: 'swap-back' };
    case 'swap-back':
      return { ...before, step: 'rest', outcome: 'failed', resume: 'swap-back', retryAt };
    case 'driver-back':
      // the process may have the old set all the same: handshakes tell
      return context.hasListeners && record.served !== undefined
        ? { ...before, step: 'prove-back' }
        : { ...before, step: 'rest', outcome: 'failed', resume: 'driver-back', retryAt };
    case 'prove-back':
      return { ...before, step: 'rest', outcome: 'failed', resume: 'driver-back', retryAt };
  }
}

/** The candidate can not be delivered, and nothing was changed. */
function unfit(
  record: DeliveryRecord,
  error: PkiError,
  { now, retryAt }: DeliveryContext & { readonly retryAt: number },
): DeliveryRecord {
  const { candidate } = record;
  // an answer of the driver that did not come says nothing of the set
  const again = record.step === 'offer' && !refuses(error);
  const rest: DeliveryRecord = {
    ...record,
    step: 'rest',
    promoted: false,
    outcome: record.served === undefined ? 'failed' : record.outcome,
    retryAt,
  };
  if (again) return { ...rest, resume: record.promoted ? undefined : 'check', tried: true };
  return {
    ...rest,
    candidate: undefined,
    waitsFor: 'nothing',
    resume: undefined,
    retired:
      candidate === undefined
        ? record.retired
        : [...record.retired, { set: candidate, removeAt: now }],
  };
}

export const obstacleOf = ({ code, message, next: advice }: PkiError): Obstacle => ({
  code,
  message,
  next: advice,
});

const refuses = ({ code }: PkiError): boolean => code === 'DRIVER_REFUSED';
