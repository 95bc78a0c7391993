import { z } from 'zod';
import { fail, ok, PkiError, unwrap, type Result } from '../errors/index.ts';
import { parseInstant } from '../runtime/instant.ts';
import { SpiffeIdPattern } from '../spiffe/index.ts';
import { keyTypes } from '../x509/index.ts';
import { compileExpression } from './cel/expression.ts';
import { loadCel } from './cel/library.ts';
import { DnsPattern } from './dns-pattern.ts';
import { policyCallers, policyKinds, policyProfiles } from './facts.ts';
import { problemsIn, quoted, readYaml, secondsFrom, unknownWord } from './file-text.ts';
import { IpRange } from './ip-range.ts';
import type { Policy } from './policy.ts';
import { quotaBases } from './quota.ts';
import { audiencePattern, conditionsOf, effects, type CallerPattern, type Rule } from './rule.ts';
import { minutesOf, weekdays } from './time-window.ts';

/** Bounds, so that neither a decision nor the reading of the file is slow. */
const maximumBytes = 256 * 1024;
/** Of a quota: each place that is taken is remembered. */
const maximumPlaces = 10_000;
const maximumQuotaSeconds = 31 * 86_400;
const maximumRules = 200;
const maximumItems = 500;
const maximumPatterns = 2000;
/** Of all expressions together. */
const maximumNodes = 1000;
const maximumInstructions = 2048;
const maximumExpressionCharacters = 32 * 1024;

/** Runs a parser whose failure becomes the problem of this field. */
const by = <Input, Output>(schema: z.ZodType<Input>, read: (value: Input) => Output) =>
  schema.transform((value, { addIssue }) => {
    try {
      return read(value);
    } catch (thrown) {
      addIssue(PkiError.from(thrown).message);
      return z.NEVER;
    }
  });

const text = z.string('it is text').min(1, 'it is empty').max(512, 'it is too long');
const list = <Item extends z.ZodType>(item: Item) =>
  z
    .array(item, 'it is a list')
    .min(1, 'an empty list matches nothing; leave the condition out')
    .max(maximumItems, `it has more than ${maximumItems} items`);
const oneOf = <const Values extends readonly [string, ...string[]]>(values: Values) =>
  z.enum(values, { error: ({ input }) => unknownWord(input, values) });
const setOf = <const Values extends readonly [string, ...string[]]>(values: Values) =>
  list(oneOf(values)).transform((items) => new Set<Values[number]>(items));
const texts = list(text).transform((items) => new Set(items));

const seconds = by(z.union([z.int(), z.string()], 'it is a duration such as 1h'), (value) => {
  const total = secondsFrom(value);
  if (total === undefined)
    throw new PkiError('POLICY_INVALID', `${quoted(value)} is no duration such as 90s or 1h`);
  return total;
});
const instant = by(text, (value) => {
  const at = parseInstant(value);
  if (at === undefined)
    throw new PkiError('POLICY_INVALID', `${JSON.stringify(value)} is no instant of ISO 8601`);
  return at;
});
const ttl = by(
  z.strictObject({ min: seconds.optional(), max: seconds.optional() }, 'it has min and max'),
  ({ min = 0, max = Infinity }) => {
    if (min > max) throw new PkiError('POLICY_INVALID', 'min is above max');
    if (min === 0 && max === Infinity)
      throw new PkiError('POLICY_INVALID', 'it has neither min nor max');
    return { min, max };
  },
);
const times = list(
  by(
    z.strictObject(
      {
        days: setOf(weekdays).optional(),
        from: text.optional(),
        to: text.optional(),
      },
      'it has days, from and to, in UTC',
    ),
    ({ days = new Set(), from = '00:00', to = '24:00' }) => {
      const window = {
        days: [...days],
        from: unwrap(minutesOf(from)),
        to: unwrap(minutesOf(to)),
      };
      if (window.from >= window.to)
        throw new PkiError('POLICY_INVALID', `${from} is not before ${to}; write two windows`);
      return window;
    },
  ),
);
const spiffeIds = list(by(text, (value) => unwrap(SpiffeIdPattern.parse(value))));
const callerIds = list(by(text, callerPattern));
const audience = by(text, (value) => {
  if (value.slice(0, -1).includes('*'))
    throw new PkiError('POLICY_INVALID', `${JSON.stringify(value)}: * stands at the end alone`);
  return audiencePattern(value);
});

const expression = by(z.string('it is text').min(1, 'it is empty'), (value) =>
  unwrap(compileExpression(value, loadCel())),
);

const quota = z
  .strictObject(
    {
      count: z
        .int('it is a whole number')
        .min(1, 'it is below 1; write a rule that denies')
        .max(maximumPlaces, `it is above ${maximumPlaces}`),
      per: seconds,
      by: oneOf(quotaBases),
    },
    'it has count, per and by',
  )
  .transform(({ count, per: perSeconds, by: counted }, { addIssue }) => {
    if (perSeconds > maximumQuotaSeconds) addIssue('per is longer than 31d');
    return { count, perSeconds, by: counted };
  });

/** In files of older releases. No certificate has such a profile. */
const olderProfiles = ['endpoint'] as const;

const ruleSchema = z
  .strictObject(
    {
      name: text.regex(/^[a-z0-9][a-z0-9.-]{0,63}$/, 'it is of [a-z0-9.-], up to 64'),
      effect: oneOf(effects),
      message: text.max(200, 'it is longer than 200').optional(),
      wildcardNames: z.boolean('it is true or false').optional(),
      quota: quota.optional(),
      kinds: setOf(policyKinds).optional(),
      callers: setOf(policyCallers).optional(),
      callerIds: callerIds.optional(),
      spiffeIds: spiffeIds.optional(),
      dnsNames: list(by(text, (value) => unwrap(DnsPattern.parse(value)))).optional(),
      ips: list(by(text, (value) => unwrap(IpRange.parse(value)))).optional(),
      audiences: list(audience).optional(),
      profiles: setOf([...policyProfiles, ...olderProfiles]).optional(),
      keyTypes: setOf(keyTypes).optional(),
      ttl: ttl.optional(),
      entries: texts.optional(),
      delegations: texts.optional(),
      tenants: texts.optional(),
      eabKeys: texts.optional(),
      exchangedBy: spiffeIds.optional(),
      times: times.optional(),
      validFrom: instant.optional(),
      validUntil: instant.optional(),
      when: expression.optional(),
    },
    'it is a mapping of keys to values',
  )
  .transform(({ name, effect, message = '', wildcardNames = false, ...stated }, context) => {
    const { quota: places, ...conditions } = stated;
    if (places !== undefined && effect === 'deny')
      context.addIssue('quota: only a rule that allows has one');
    if (wildcardNames && effect === 'deny')
      context.addIssue('wildcardNames: a rule that denies matches wildcard names in any case');
    const ofCertificates = (['dnsNames', 'ips', 'profiles', 'keyTypes'] as const).find(
      (condition) => conditions[condition] !== undefined,
    );
    if (conditions.audiences !== undefined && ofCertificates !== undefined)
      context.addIssue(
        `audiences and ${ofCertificates}: no request has both, so the rule would match none; write two rules`,
      );
    return { name, effect, message, wildcardNames, quota: places, conditions } as Omit<
      Rule,
      'source' | 'order'
    >;
  });

const policySchema = z
  .strictObject(
    {
      meshcaPolicy: z.literal(1, 'the only format of this release is 1'),
      description: z.string('it is text').max(2000, 'it is longer than 2000').optional(),
      rules: z
        .array(ruleSchema, 'it is a list')
        .min(1, 'a policy without rules would deny everything; say so by a rule')
        .max(maximumRules, `there are more than ${maximumRules}`),
    },
    'it is a mapping of keys to values',
  )
  .transform(({ description = '', rules }, context) => {
    const names = new Set<string>();
    for (const { name } of rules) {
      if (names.has(name)) context.addIssue(`two rules have the name ${name}`);
      names.add(name);
    }
    const patterns = rules.reduce((sum, { conditions }) => sum + patternsIn(conditions), 0);
    if (patterns > maximumPatterns)
      context.addIssue(
        `the rules have ${patterns} patterns together, more than ${maximumPatterns}`,
      );
    const size = expressionSize(rules);
    if (size.nodes > maximumNodes || size.instructions > maximumInstructions)
      context.addIssue(
        `the expressions are too large together (${size.nodes} parts, at most ${maximumNodes}; ${size.instructions} instructions of patterns, at most ${maximumInstructions})`,
      );
    return { description, rules };
  });

const expressionSize = (
  rules: readonly Pick<Rule, 'conditions'>[],
): { readonly nodes: number; readonly instructions: number } => ({
  nodes: rules.reduce((sum, { conditions }) => sum + (conditions.when?.size.nodes ?? 0), 0),
  instructions: rules.reduce(
    (sum, { conditions }) => sum + (conditions.when?.size.instructions ?? 0),
    0,
  ),
});

const patternsIn = (conditions: Rule['conditions']): number =>
  (['spiffeIds', 'callerIds', 'exchangedBy', 'dnsNames', 'ips', 'audiences'] as const).reduce(
    (sum, condition) => sum + (conditions[condition]?.length ?? 0),
    0,
  );

/** Reads and checks the file of a policy. Fails with POLICY_INVALID and every problem. */
export function readPolicy(source: string): Result<Policy> {
  const tree = readYaml(source, maximumBytes);
  if (!tree.ok) return tree;
  const characters = expressionCharacters(tree.value);
  if (characters > maximumExpressionCharacters)
    return fail(
      'POLICY_INVALID',
      `the expressions have ${characters} characters together, more than ${maximumExpressionCharacters}`,
    );
  const parsed = policySchema.safeParse(tree.value);
  if (parsed.success) {
    const { description, rules } = parsed.data;
    const sources = (tree.value as { readonly rules: readonly unknown[] }).rules;
    return ok({
      description,
      rules: rules.map((rule, index) => ({
        ...rule,
        order: conditionsOf(rule.conditions),
        source: JSON.stringify(sources[index]),
      })),
    });
  }
  const problems = problemsIn(parsed.error, tree.value, {
    meshcaPolicy: [],
    description: [],
    rules: Object.keys(ruleSchema.in.shape),
  });
  return fail('POLICY_INVALID', problems);
}

/** Before any of them is parsed. */
function expressionCharacters(tree: unknown): number {
  const { rules } = (tree ?? {}) as { readonly rules?: unknown };
  if (!Array.isArray(rules)) return 0;
  return rules.reduce((sum: number, rule: { readonly when?: unknown } | null) => {
    const when = rule?.when;
    return sum + (typeof when === 'string' ? when.length : 0);
  }, 0);
}

function callerPattern(value: string): CallerPattern {
  if (/^uid:\d{1,10}$/.test(value)) return { text: value, matches: (name) => name === value };
  // the name of the holder of a token: `kubernetes:<cluster>/<namespace>/<account>`, `issuer:<id>`
  if (/^[a-z]{2,20}:[^*/]+(?:\/[^*]*)?\*?$/.test(value) && !value.startsWith('uid:'))
    return {
      text: value,
      matches: (name) =>
        value.endsWith('*') ? name.startsWith(value.slice(0, -1)) : name === value,
    };
  const pattern = unwrap(SpiffeIdPattern.parse(value));
  return {
    text: value,
    matches: (_, id) => id !== undefined && pattern.matches(id),
  };
}
