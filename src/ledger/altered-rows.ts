import type { LoggedValues } from '../domain/index.ts';
import type { Objects } from './objects.ts';

/** Objects of a kind as the database has them, altered ones included. */
interface Rows<Value> {
  readonly all: AsyncIterable<readonly Value[]>;
  byId(id: string): Promise<Value | undefined>;
}

/**
 * The IDs of the objects that the log has and whose row is missing or altered. Reads every row. Each
 * is announced.
 */
export async function alteredRows<Kind extends 'eab-key' | 'acme-account'>(
  kind: Kind,
  objects: Pick<Objects, 'prove' | 'idsWithout' | 'announceAbsent'>,
  rows: Rows<LoggedValues[Kind]>,
): Promise<readonly string[]> {
  const proven = new Set<string>();
  for await (const page of rows.all)
    for (const row of page) if (objects.prove(kind, row) !== undefined) proven.add(row.id);
  const altered: string[] = [];
  // one that was recorded during the read may be in none of the pages
  for (const id of objects.idsWithout(kind, proven)) {
    const row = await rows.byId(id);
    if (row === undefined) objects.announceAbsent(kind, id);
    if (row === undefined || objects.prove(kind, row) === undefined) altered.push(id);
  }
  return altered;
}
