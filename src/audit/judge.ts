import type { PendingRecord } from '../ledger/index.ts';
import type { LogSeal } from '../store/ports/index.ts';
import type { SealCheck } from './session.ts';
import { sealBytes } from '../domain/index.ts';

export interface Judged {
  readonly taken: readonly PendingRecord[];
  readonly excluded: readonly { readonly sequence: number; readonly reason: string }[];
  /** The highest sequence that was considered. */
  readonly sequence: number;
}

export interface Reach {
  /** The highest sequence that was looked at before. */
  readonly after: number;
  /**
   * The records may go on after these, so that a seal that reaches beyond them waits for the next
   * time.
   */
  readonly more: boolean;
}

/**
 * Decides which records get into the tree: records that this process wrote and still knows, records
 * under a valid seal, and records from before the first session of this database. A valid seal also
 * names the record that its session wrote before. If that record is not pending and was not looked
 * at earlier, somebody deleted it.
 */
export function judgePending(
  pending: readonly PendingRecord[],
  seals: SealCheck,
  { after, more }: Reach,
): Judged {
  const present = new Set(pending.map(({ sequence }) => sequence));
  const taken: PendingRecord[] = [];
  const excluded: { sequence: number; reason: string }[] = [];
  let sequence = 0;
  for (let at = 0; at < pending.length; ) {
    const record = pending[at] as PendingRecord;
    const { origin } = record;
    if (origin.kind !== 'sealed') {
      if (origin.kind === 'gone') excluded.push({ sequence: record.sequence, reason: deleted });
      else if (origin.kind === 'foreign')
        excluded.push({
          sequence: record.sequence,
          reason: 'no server wrote this record, or it was changed since',
        });
      else taken.push(record);
      sequence = record.sequence;
      at += 1;
      continue;
    }
    const group = underSameSeal(pending.slice(at), origin.seal);
    if (more && at > 0 && (group.at(-1) as PendingRecord).sequence < origin.seal.lastSequence)
      break;
    if (isWhole(group, origin.seal) && holds(seals, origin.seal, group)) {
      const before = origin.seal.previousSequence ?? 0;
      if (before > after && !present.has(before))
        excluded.push({ sequence: before, reason: deleted });
      taken.push(...group);
    } else
      excluded.push(
        ...group.map((record) => ({
          sequence: record.sequence,
          reason: 'the seal over this record is invalid',
        })),
      );
    sequence = (group.at(-1) as PendingRecord).sequence;
    at += group.length;
  }
  return { taken, excluded, sequence };
}

const deleted = 'the record was deleted before it was in the tree';

const underSameSeal = (
  pending: readonly PendingRecord[],
  { lastSequence }: LogSeal,
): readonly PendingRecord[] =>
  pending.filter(
    ({ origin }) => origin.kind === 'sealed' && origin.seal.lastSequence === lastSequence,
  );

const holds = (seals: SealCheck, seal: LogSeal, group: readonly PendingRecord[]): boolean =>
  seals.holds(
    seal,
    sealBytes(
      seal,
      group.map(({ leafHash }) => leafHash),
    ),
  );

const isWhole = (group: readonly PendingRecord[], seal: LogSeal): boolean =>
  group.length === seal.lastSequence - seal.firstSequence + 1 &&
  group[0]?.sequence === seal.firstSequence &&
  group.at(-1)?.sequence === seal.lastSequence;
