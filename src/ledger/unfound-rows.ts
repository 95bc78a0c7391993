import type { LoggedValues } from '../domain/index.ts';
import { pagesOf } from '../store/pages.ts';
import type { Page, PageRequest } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';

/** A page blocks the thread for some milliseconds. */
export const rowsOnPage = 200;
/** Further ones are announced by the next search. */
const maximumAnnounced = 1_000;

export interface SearchedRows<T> {
  list(filter: object, page: PageRequest): Promise<Page<T>>;
  byId(id: string): Promise<T | undefined>;
}

/**
 * Announces objects that the log has and whose row is gone, or differs. A look-up by an ID notices
 * this by itself; one by something else can not tell a row that was taken away, or that has another
 * value there, from one that never was.
 */
export async function announceUnfound<Kind extends 'acme-account' | 'acme-order'>(
  kind: Kind,
  rows: SearchedRows<LoggedValues[Kind]>,
  objects: Pick<Objects, 'prove' | 'idsWithout' | 'announceAbsent'>,
): Promise<void> {
  const present = new Set<string>();
  const pages = pagesOf((request) => rows.list({}, request), { size: rowsOnPage });
  for await (const page of pages)
    for (const row of page) {
      present.add(row.id);
      objects.prove(kind, row);
    }
  // it may have been made, or forgotten, since the page was read
  for (const id of objects.idsWithout(kind, present).slice(0, maximumAnnounced))
    if ((await rows.byId(id)) === undefined) objects.announceAbsent(kind, id);
}
