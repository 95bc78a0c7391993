import type { LoggedValues, LogObjectKind, Proven } from '../domain/index.ts';
import type { Objects } from './objects.ts';

/** Records that arrive during a read make it worth another one. */
const maximumReads = 3;

/**
 * Reads all rows of a kind and compares them with the log. Returns the rows that the log vouches
 * for, and announces each row that differs and each object that has no row.
 */
export async function comparedRows<Kind extends LogObjectKind>(
  objects: Pick<Objects, 'prove' | 'newest' | 'announceMissing'>,
  kind: Kind,
  read: () => Promise<readonly LoggedValues[Kind][]>,
): Promise<readonly Proven<LoggedValues[Kind]>[]> {
  for (let reads = 1; ; reads += 1) {
    const before = objects.newest(kind);
    const rows = await read();
    const changed = objects.newest(kind) !== before;
    if (changed && reads < maximumReads) continue;
    // a new object has no row in an older read
    if (!changed) objects.announceMissing(kind, rows);
    return rows.flatMap((row) => objects.prove(kind, row) ?? []);
  }
}
