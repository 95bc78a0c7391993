import type { TargetStatus } from '../ports/file-targets.ts';
import { endingAt } from './delivery-wants.ts';
import { currentOf, stateOf, type DeliveryRecord } from './delivery-record.ts';
import { staples } from './drivers/index.ts';
import type { FileTarget } from './target.ts';

/** What people see of a target. Pure. */
export function statusOf(target: FileTarget, record: DeliveryRecord, now: number): TargetStatus {
  const current = currentOf(record);
  const { candidate, served, retired, history, since } = record;
  const sets = [candidate, served, ...retired.map(({ set }) => set)]
    .filter((set) => set !== undefined)
    .sort((one, other) => one.number - other.number);
  const { reason, next } = situation(target, record, now);
  return {
    name: target.name,
    driver: target.driver.type,
    state: stateOf(record),
    reason,
    next,
    spiffeId: (current ?? candidate)?.spiffeId ?? target.spiffeId?.toString() ?? '',
    names: (current ?? candidate)?.forNames?.names ?? [],
    since,
    sets: sets.map(({ name, serial, notBefore, notAfter }) => ({
      ...{ name, serial, notBefore, notAfter },
      current: name === current?.name,
    })),
    rollout: target.rollout,
    waitsFor: record.step === 'rest' ? record.waitsFor : 'nothing',
    directory: target.directory,
    history,
  };
}

const instant = (at: number): string => new Date(at * 1000).toISOString().replace('.000Z', 'Z');

function situation(
  { name, promote, driver }: FileTarget,
  record: DeliveryRecord,
  now: number,
): { readonly reason: string; readonly next: string } {
  const { obstacle, unstapled, served, waitsFor, step, retryAt } = record;
  if (served !== undefined && now >= endingAt(served))
    return {
      reason:
        now > served.endsAt
          ? `TARGET_ENDING: the certificate that is served has ended at ${instant(served.endsAt)}${because(record)}`
          : `TARGET_ENDING: the certificate that is served ends at ${instant(served.endsAt)}${because(record)}`,
      next:
        waitsFor === 'nothing'
          ? (obstacle?.next ?? '')
          : `Serve the staged set: "meshca set promote ${name}".`,
    };
  const reason = obstacle === undefined ? '' : `${obstacle.code}: ${obstacle.message}`;
  if (step === 'rest' && waitsFor === 'hand')
    return { reason, next: `Serve the staged set: "meshca set promote ${name}".` };
  if (step === 'rest' && waitsFor === 'turn')
    return { reason, next: 'The set waits for its turn in the group.' };
  if (obstacle !== undefined)
    return {
      reason,
      next: retryAt > 0 ? `${obstacle.next} Tried again at ${instant(retryAt)}.` : obstacle.next,
    };
  if (served === undefined || step !== 'rest') return { reason, next: '' };
  if (unstapled !== undefined && staples(driver))
    return { reason: `${unstapled.code}: ${unstapled.message}`, next: unstapled.next };
  return {
    reason,
    next: `A new certificate is due at ${instant(served.renewAt)}${promote === 'by hand' ? ', and waits for a hand' : ''}.`,
  };
}

const because = ({ obstacle, waitsFor }: DeliveryRecord): string =>
  obstacle !== undefined
    ? `; ${obstacle.code}: ${obstacle.message}`
    : waitsFor === 'hand'
      ? '; its successor waits for a hand'
      : waitsFor === 'turn'
        ? '; its successor waits for its turn'
        : '';
