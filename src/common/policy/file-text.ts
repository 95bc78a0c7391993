import { parse } from 'yaml';
import type { z } from 'zod';
import { fail, ok, type Result } from '../errors/index.ts';
import { nearest } from '../runtime/nearest.ts';

const maximumBytes = 1024 * 1024;
const shownProblems = 20;
const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Longer than any certificate. */
const maximumSeconds = 100 * 366 * 86_400;

/** YAML without aliases, whose expansion could be huge. Fails with POLICY_INVALID. */
export function readYaml(source: string): Result<unknown> {
  if (Buffer.byteLength(source) > maximumBytes)
    return fail('POLICY_INVALID', `the file has more than ${maximumBytes / 1024} KiB`);
  try {
    return ok(
      parse(source, {
        strict: true,
        uniqueKeys: true,
        maxAliasCount: 0,
        schema: 'core',
        logLevel: 'error',
      }),
    );
  } catch (thrown) {
    const [line] = thrown instanceof Error ? thrown.message.split('\n') : [];
    return fail('POLICY_INVALID', `the file is no valid YAML: ${line ?? ''}`);
  }
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
