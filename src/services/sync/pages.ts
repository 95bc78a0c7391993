import { createHash } from 'node:crypto';
import type { Position, RegistrationEntry } from '../../domain/index.ts';
import type { SyncMessage } from '../services.ts';

export const pageEntries = 500;
/** Well below 4 MB, the default limit of a gRPC message. */
const pageBytes = 1_000_000;

/**
 * Splits entries into pages of at most 500 entries and about 1 MB. There is at least one page,
 * which may be empty.
 */
export function inPages(
  entries: readonly RegistrationEntry[],
): readonly (readonly RegistrationEntry[])[] {
  const pages: RegistrationEntry[][] = [[]];
  let bytes = 0;
  for (const entry of entries) {
    const size = sizeOf(entry);
    let page = pages.at(-1) as RegistrationEntry[];
    if (page.length === pageEntries || (page.length > 0 && bytes + size > pageBytes)) {
      page = [];
      pages.push(page);
      bytes = 0;
    }
    page.push(entry);
    bytes += size;
  }
  return pages;
}

/**
 * An upper bound of the encoded size of an entry: each text with its length, and a generous size
 * for numbers.
 */
function sizeOf(entry: RegistrationEntry): number {
  let bytes =
    100 + entry.id.length + Buffer.byteLength(entry.spiffeId) + Buffer.byteLength(entry.hint);
  for (const { type, value } of entry.selectors)
    bytes += 12 + Buffer.byteLength(type) + Buffer.byteLength(value);
  for (const name of [...entry.dnsNames, ...entry.ips]) bytes += 4 + name.length;
  for (const [name, values] of Object.entries(entry.placeholders))
    bytes += 12 + name.length + values.reduce((sum, value) => sum + 4 + value.length, 0);
  return bytes;
}

/**
 * The messages of one change. Only the last one moves the position, so that a session that loses a
 * part starts from before the change.
 */
export function changeMessages(
  upserts: readonly RegistrationEntry[],
  removedIds: readonly string[],
  position: Position,
): readonly SyncMessage[] {
  if (upserts.length === 0 && removedIds.length === 0) return [];
  const pages = inPages(upserts);
  return pages.map((page, index) => ({
    kind: 'entries',
    snapshotBegin: false,
    snapshotEnd: false,
    upserts: page,
    removedIds: index === 0 ? removedIds : [],
    position: index === pages.length - 1 ? position : undefined,
  }));
}

/**
 * The epoch that an agent is told: the epoch of the database, combined with the agent's node sets.
 * For the agent it is an opaque word. If its node sets changed while it was away, its position is
 * of another epoch, and a snapshot follows.
 */
export function epochFor(databaseEpoch: string, parents: readonly string[]): string {
  const sets = parents.slice(1);
  return sets.length === 0
    ? databaseEpoch
    : `${databaseEpoch}.${createHash('sha256').update(sets.join('\n')).digest('hex').slice(0, 16)}`;
}
