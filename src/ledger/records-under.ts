import { setImmediate } from 'node:timers/promises';
import { PkiError } from '../common/errors/index.ts';
import { CompactRange } from '../common/tlog/index.ts';
import { leafHash } from '../domain/index.ts';
import type { LogStore } from '../store/ports/index.ts';

/** The tree of the log at one instant. */
export interface LogHead {
  readonly size: number;
  readonly root: Buffer;
}

export interface RecordRange {
  /** A tree whose root is trusted. Undefined: there is none yet. */
  readonly head: LogHead | undefined;
  /** The last sequence. All records under the head are in the range. */
  readonly through: number;
}

export interface LoggedRecord {
  readonly sequence: number;
  readonly canonical: Buffer;
  readonly leafHash: Buffer;
}

/** About five milliseconds. */
const rowsATurn = 500;

/**
 * The records of a range in order, one turn of the event loop a part. A record counts only after
 * its own proof. The end of the iteration proves that none under the head is missing.
 *
 * @throws PkiError AUDIT_INVALID after the last part: records were changed, moved or deleted
 */
export async function* recordsUnder(
  log: Pick<LogStore, 'records'>,
  { head, through }: RecordRange,
): AsyncGenerator<readonly LoggedRecord[]> {
  const tree = new CompactRange();
  const size = head?.size ?? 0;
  for (let after = 0; after < through; ) {
    const rows = await log.records(after, rowsATurn);
    const part: LoggedRecord[] = [];
    for (const { sequence, canonical, index } of rows) {
      if (sequence > through) break;
      const hash = leafHash(canonical);
      if (index !== undefined && index < size) tree.append(hash);
      part.push({ sequence, canonical, leafHash: hash });
    }
    if (part.length > 0) yield part;
    after = rows.length < rowsATurn ? through : (rows.at(-1)?.sequence ?? through);
    await setImmediate();
  }
  if (head === undefined || (tree.size === size && tree.root().equals(head.root))) return;
  throw new PkiError(
    'AUDIT_INVALID',
    `the ${tree.size} records of the audit log differ from the ${size} that were signed: ` +
      'somebody changed, moved or deleted some',
  );
}
