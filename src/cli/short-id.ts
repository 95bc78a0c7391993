import { PkiError } from '../common/errors/index.ts';

/** Fewer characters might name another object tomorrow. */
const shortest = 6;

/**
 * The ID that a person means. It is given whole, or as its beginning or end of at least 6
 * characters, as tables show it. Throws NOT_FOUND if no ID fits, INVALID_REQUEST if several fit.
 */
export async function fullId(
  text: string,
  {
    what,
    list,
    ids,
  }: {
    readonly what: string;
    readonly list: string;
    readonly ids: () => AsyncIterable<string> | Iterable<string>;
  },
): Promise<string> {
  const wanted = text.replaceAll('…', '');
  const fitting = new Set<string>();
  for await (const id of ids()) {
    if (id === wanted) return id;
    if (wanted.length >= shortest && (id.startsWith(wanted) || id.endsWith(wanted)))
      fitting.add(id);
  }
  const [only, ...more] = fitting;
  if (only === undefined)
    throw new PkiError('NOT_FOUND', `there is no ${what} ${JSON.stringify(text)}`, {
      next: `See meshca ${list}. A short ID is the beginning or the end of one, at least ${shortest} characters.`,
    });
  if (more.length > 0)
    throw new PkiError(
      'INVALID_REQUEST',
      `several IDs fit ${JSON.stringify(text)}: ` +
        `${[...fitting].slice(0, 5).join(', ')}${fitting.size > 5 ? ' and others' : ''}`,
      { next: 'Give more characters of the ID.' },
    );
  return only;
}

export type FetchPage<T> = (page: {
  readonly size: number;
  readonly token: string;
}) => Promise<{ readonly items: readonly T[]; readonly next: string }>;

/** Every item of a paged list, or the first `limit`. */
export async function* everyItem<T>(fetch: FetchPage<T>, limit = Infinity): AsyncGenerator<T> {
  let token = '';
  let seen = 0;
  do {
    const { items, next } = await fetch({ size: 500, token });
    yield* items;
    seen += items.length;
    token = next;
  } while (token !== '' && seen < limit);
}
