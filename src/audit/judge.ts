import type { PendingRecord } from '../ledger/index.ts';
import type { LogSeal } from '../store/ports/index.ts';
import type { SealCheck } from './session.ts';
import { sealBytes } from '../domain/index.ts';

export interface Judged {
  readonly taken: readonly PendingRecord[];
  readonly excluded: readonly { readonly sequence: number; readonly reason: string }[];
  /** The highest sequence looked at. */
  readonly sequence: number;
}

/**
 * Which records get into the tree: those that this process wrote and still knows, those under a
 * good seal, and those from before the first session of this database. `more`: the records may go
 * on after these, so that a seal that reaches beyond them waits for the next time.
 */
export function judgePending(
  pending: readonly PendingRecord[],
  seals: SealCheck,
  more: boolean,
): Judged {
  const taken: PendingRecord[] = [];
  const excluded: { sequence: number; reason: string }[] = [];
  let sequence = 0;
  for (let at = 0; at < pending.length; ) {
    const record = pending[at] as PendingRecord;
    const { origin } = record;
    if (origin.kind !== 'sealed') {
      if (origin.kind === 'gone')
        excluded.push({ sequence: record.sequence, reason: 'deleted before it was in the tree' });
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
    const group = pending
      .slice(at)
      .filter(
        (each) =>
          each.origin.kind === 'sealed' &&
          each.origin.seal.lastSequence === origin.seal.lastSequence,
      );
    if (more && at > 0 && (group.at(-1) as PendingRecord).sequence < origin.seal.lastSequence)
      break;
    if (
      isWhole(group, origin.seal) &&
      seals.holds(
        origin.seal,
        sealBytes(
          origin.seal,
          group.map(({ leafHash }) => leafHash),
        ),
      )
    )
      taken.push(...group);
    else
      excluded.push(
        ...group.map((each) => ({
          sequence: each.sequence,
          reason: 'the seal over this record is not good',
        })),
      );
    sequence = (group.at(-1) as PendingRecord).sequence;
    at += group.length;
  }
  return { taken, excluded, sequence };
}

const isWhole = (group: readonly PendingRecord[], seal: LogSeal): boolean =>
  group.length === seal.lastSequence - seal.firstSequence + 1 &&
  group[0]?.sequence === seal.firstSequence &&
  group.at(-1)?.sequence === seal.lastSequence;
