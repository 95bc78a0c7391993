import { isScalar, parseDocument, visit, type Document } from 'yaml';
import type { z } from 'zod';
import { fail, ok, type Result } from '../errors/index.ts';
import { nearest } from '../runtime/nearest.ts';

const shownProblems = 20;
const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Longer than any certificate. */
const maximumSeconds = 100 * 366 * 86_400;

/**
 * YAML without aliases, whose expansion could be huge. Takes time in proportion to the size,
 * whatever the text. Fails with POLICY_INVALID.
 */
export function readYaml(source: string, maximumBytes: number): Result<unknown> {
  if (Buffer.byteLength(source) > maximumBytes)
    return fail('POLICY_INVALID', `the file has more than ${maximumBytes / 1024} KiB`);
  const invalid = (offset: number, problem: string): Result<never> =>
    fail(
      'POLICY_INVALID',
      `the file is no valid YAML: ${problem.slice(0, 200)} at ${placeAt(source, offset)}`,
    );
  try {
    // the library compares each key of a map with each other, and quotes the file for each error
    const document = parseDocument(source, {
      strict: true,
      uniqueKeys: false,
      prettyErrors: false,
      schema: 'core',
      logLevel: 'error',
    });
    const [error] = document.errors;
    if (error !== undefined) return invalid(error.pos[0], error.message);
    const repeated = repeatedKey(document);
    if (repeated !== undefined)
      return invalid(repeated.offset, `the key ${quoted(repeated.key)} is there twice`);
    return ok(document.toJS({ maxAliasCount: 0 }));
  } catch (thrown) {
    return invalid(0, thrown instanceof Error ? thrown.message : 'it can not be read');
  }
}

/** Line and column of an offset, from 1. */
export function placeAt(source: string, offset: number): string {
  const lines = source.slice(0, offset).split('\n');
  return `line ${lines.length}, column ${(lines.at(-1) ?? '').length + 1}`;
}

/** The first key that a map has twice. */
function repeatedKey(
  document: Document,
): { readonly key: unknown; readonly offset: number } | undefined {
  let repeated: ReturnType<typeof repeatedKey>;
  visit(document, {
    Map: (_, { items }) => {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        // in the tree that the schema reads, keys are texts
        const text = String(key.value);
        if (seen.has(text)) repeated = { key: key.value, offset: key.range?.[0] ?? 0 };
        if (repeated !== undefined) return visit.BREAK;
        seen.add(text);
      }
      return undefined;
    },
  });
  return repeated;
}

/** Whole seconds, or a text such as `90s` or `1h`. Undefined for anything else. */
export function secondsFrom(value: number | string): number | undefined {
  const [, count, unit = ''] = /^(\d{1,10})(s|m|h|d)$/.exec(String(value)) ?? [];
  const total = typeof value === 'number' ? value : Number(count) * (secondsOf[unit] ?? NaN);
  return total >= 1 && total <= maximumSeconds ? total : undefined;
}

/**
 * Every problem in one line, with the place of each: items of a list are called by their names.
 *
 * @param known the keys of the items of a list, and of the file itself
 */
export function problemsIn(
  { issues }: z.ZodError,
  tree: unknown,
  known: Readonly<Record<string, readonly string[]>>,
): string {
  const problems = issues.flatMap((issue) => {
    const path = placeOf(issue.path, tree);
    const at = path === '' ? '' : `${path}: `;
    if (issue.code !== 'unrecognized_keys') return [`${at}${issue.message}`];
    const words = known[String(issue.path[0])] ?? Object.keys(known);
    return issue.keys.map((key) => `${at}unknown key ${quoted(key)}${meant(key, words)}`);
  });
  const shown = problems.slice(0, shownProblems).join('; ');
  return problems.length > shownProblems
    ? `${shown}; and ${problems.length - shownProblems} more`
    : shown;
}

export const unknownWord = (input: unknown, words: readonly string[]): string =>
  `${quoted(input)} is none of ${words.join(', ')}${typeof input === 'string' ? meant(input, words) : ''}`;

export const quoted = (input: unknown): string => (JSON.stringify(input) ?? 'nothing').slice(0, 80);

function meant(word: string, words: readonly string[]): string {
  const near = nearest(word.slice(0, 64), words);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

/** `rules "web" ttl.max`; an item without a name has its number. */
function placeOf(path: readonly PropertyKey[], tree: unknown): string {
  const [list, index, ...rest] = path;
  if (typeof list !== 'string' || typeof index !== 'number') return path.map(String).join('.');
  const item = (tree as Record<string, readonly unknown[]>)[list]?.[index];
  const name = (item as { name?: unknown } | null)?.name;
  const shown = typeof name === 'string' ? quoted(name) : String(index + 1);
  return `${list} ${shown}${rest.length === 0 ? '' : ` ${rest.map(String).join('.')}`}`;
}
