import type { Page, PageRequest } from './ports/pages.ts';

/**
 * A listing to its end, page by page. What changes meanwhile may be missed or seen, as the keys of
 * its pages have it.
 */
export async function* pagesOf<T>(
  fetch: (page: PageRequest) => Promise<Page<T>>,
  size = 1000,
): AsyncGenerator<readonly T[]> {
  for (let after: string | undefined; ; ) {
    const page = await fetch(after === undefined ? { size } : { size, after });
    yield page.items;
    if (page.next === undefined) return;
    after = page.next;
  }
}
