import { unwrap } from '../errors/index.ts';
import { readPolicy } from './file.ts';
import { readYaml } from './file-text.ts';

export interface RuleDifference {
  readonly rule: string;
  readonly change: 'added' | 'removed' | 'changed';
  readonly effect: 'allow' | 'deny';
  /** One line a difference; of a rule that was added or removed its conditions. */
  readonly words: readonly string[];
}

export interface PolicyDifferences {
  /** Of the policy besides its rules. */
  readonly words: readonly string[];
  readonly rules: readonly RuleDifference[];
}

type Fields = Readonly<Record<string, unknown>>;
type StatedRule = Fields & { readonly name: string; readonly effect: 'allow' | 'deny' };

/**
 * What one policy says and the other does not, as their files state it. The order of rules and of
 * the items of a list does not matter.
 *
 * @param source of a file; empty: the built-in policy, which has no rules
 * @throws PkiError POLICY_INVALID
 */
export function policyDifferences(source: string, other: string): PolicyDifferences {
  const [before, after] = [statedIn(source), statedIn(other)];
  const names = new Set([...before.rules.keys(), ...after.rules.keys()]);
  return {
    words: differing(before.rest, after.rest),
    rules: [...names].flatMap((rule) =>
      differenceOf(rule, before.rules.get(rule), after.rules.get(rule)),
    ),
  };
}

function statedIn(source: string): {
  readonly rules: ReadonlyMap<string, StatedRule>;
  readonly rest: Fields;
} {
  if (source === '') return { rules: new Map(), rest: {} };
  // with its bounds
  unwrap(readPolicy(source));
  const {
    rules,
    meshcaPolicy: _,
    ...rest
  } = unwrap(readYaml(source, Infinity)) as Fields & {
    readonly rules: readonly StatedRule[];
  };
  return { rules: new Map(rules.map((rule) => [rule.name, rule])), rest };
}

function differenceOf(
  rule: string,
  before: StatedRule | undefined,
  after: StatedRule | undefined,
): readonly RuleDifference[] {
  if (before === undefined && after !== undefined)
    return [{ rule, change: 'added', effect: after.effect, words: conditionsOf(after) }];
  if (before !== undefined && after === undefined)
    return [{ rule, change: 'removed', effect: before.effect, words: conditionsOf(before) }];
  if (before === undefined || after === undefined) return [];
  const words = differing(before, after);
  return words.length === 0 ? [] : [{ rule, change: 'changed', effect: after.effect, words }];
}

function conditionsOf(rule: StatedRule): readonly string[] {
  const words = Object.entries(rule)
    .filter(([key]) => key !== 'name' && key !== 'effect')
    .map(([key, value]) => `${key}: ${shown(value)}`);
  return words.length === 0 ? ['without conditions: it matches every request'] : words;
}

function differing(before: Fields, after: Fields): readonly string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys.flatMap((key) => {
    const [old, fresh] = [before[key], after[key]];
    if (same(old, fresh)) return [];
    if (old === undefined) return [`${key} is new: ${shown(fresh)}`];
    if (fresh === undefined) return [`${key} is gone; it was ${shown(old)}`];
    return Array.isArray(old) && Array.isArray(fresh)
      ? listDifferences(key, old, fresh)
      : [`${key} was ${shown(old)}, and is ${shown(fresh)}`];
  });
}

function listDifferences(
  key: string,
  before: readonly unknown[],
  after: readonly unknown[],
): readonly string[] {
  const lacking = (items: readonly unknown[], others: readonly unknown[]): readonly unknown[] =>
    items.filter((item) => !others.some((other) => same(item, other)));
  const [gone, fresh] = [lacking(before, after), lacking(after, before)];
  return [
    ...(fresh.length === 0 ? [] : [`${key} has also ${shown(fresh)}`]),
    ...(gone.length === 0 ? [] : [`${key} has no longer ${shown(gone)}`]),
  ];
}

const same = (one: unknown, other: unknown): boolean => canonical(one) === canonical(other);

/** Lists are sets here, and keys of a mapping have no order. */
function canonical(value: unknown): string {
  if (Array.isArray(value))
    return JSON.stringify(value.map(canonical).sort((one, other) => (one < other ? -1 : 1)));
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? '';
  const entries = Object.entries(value).map(([key, item]) => [key, canonical(item)] as const);
  return JSON.stringify(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.map(shown).join(', ');
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .map(([key, item]) => `${key} ${shown(item)}`)
      .join(' ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}
