import { setImmediate as turn } from 'node:timers/promises';
import type { Page, PageRequest } from './ports/pages.ts';

/**
 * Reads a listing to its end, page by page. Changes during the read may be included or missed,
 * depending on their keys.
 */
export async function* pagesOf<T>(
  fetch: (page: PageRequest) => Promise<Page<T>>,
  {
    size = 1000,
    signal,
  }: { readonly size?: number; readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<readonly T[]> {
  for (let after: string | undefined; ; ) {
    const page = await fetch({ size, signal, ...(after === undefined ? {} : { after }) });
    yield page.items;
    if (page.next === undefined) return;
    after = page.next;
  }
}

/**
 * A listing as a whole, for whoever would take a part of it for the whole. Other calls run between
 * its pages.
 */
export async function wholeList<T>(
  fetch: (page: PageRequest) => Promise<Page<T>>,
  options: { readonly size?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const items of pagesOf(fetch, options)) {
    for (const item of items) all.push(item);
    await turn();
  }
  return all;
}
