import { PkiError } from '../../common/errors/index.ts';
import type { Page, PageRequest } from '../ports/index.ts';

const maximumSize = 1000;

/** The read of a page blocks the thread: at most 1,000 rows. */
export const pageSize = (page: PageRequest): number =>
  Math.min(Math.max(Math.floor(page.size), 1), maximumSize);

/** `rows` holds at most one more than the page, to tell whether there is a next page. */
export function toPage<Row, Item>(
  rows: readonly Row[],
  size: number,
  toItem: (row: Row) => Item,
  keyOf: (row: Row) => string,
): Page<Item> {
  const shown = rows.length > size ? rows.slice(0, size) : rows;
  const last = shown.at(-1);
  return {
    items: shown.map(toItem),
    next: rows.length > size && last !== undefined ? keyOf(last) : undefined,
  };
}

/** Reads a cursor of whole numbers, written as `12` or `12.34`. */
export function numberKey(after: string | undefined, parts: 1 | 2): readonly number[] | undefined {
  if (after === undefined || after === '') return undefined;
  const numbers = after
    .split('.')
    .map((part) => (/^-?\d{1,16}$/.test(part) ? Number(part) : Number.NaN));
  if (numbers.length !== parts || !numbers.every(Number.isSafeInteger)) throw badCursor();
  return numbers;
}

export const badCursor = (): PkiError =>
  new PkiError('INVALID_REQUEST', 'the page token was not issued by this server');
