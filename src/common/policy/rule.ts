import { ok, type Result } from '../errors/index.ts';
import { SpiffeId, type SpiffeIdPattern } from '../spiffe/index.ts';
import type { KeyType } from '../x509/index.ts';
import type { Expression } from './cel/expression.ts';
import type { DnsPattern } from './dns-pattern.ts';
import {
  delegationOf,
  type PolicyCaller,
  type PolicyFacts,
  type PolicyKind,
  type PolicyProfile,
} from './facts.ts';
import type { IpRange } from './ip-range.ts';
import type { Quota } from './quota.ts';
import { isWithin, type TimeWindow } from './time-window.ts';

export const effects = ['allow', 'deny'] as const;
export type Effect = (typeof effects)[number];

/** Inclusive. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** A condition that is absent holds for every request. */
export interface Conditions {
  readonly kinds?: ReadonlySet<PolicyKind>;
  readonly callers?: ReadonlySet<PolicyCaller>;
  readonly callerIds?: readonly CallerPattern[];
  readonly spiffeIds?: readonly SpiffeIdPattern[];
  readonly dnsNames?: readonly DnsPattern[];
  readonly ips?: readonly IpRange[];
  readonly audiences?: readonly AudiencePattern[];
  readonly profiles?: ReadonlySet<PolicyProfile>;
  readonly keyTypes?: ReadonlySet<KeyType>;
  readonly ttl?: Range;
  readonly entries?: ReadonlySet<string>;
  readonly delegations?: ReadonlySet<string>;
  readonly tenants?: ReadonlySet<string>;
  readonly eabKeys?: ReadonlySet<string>;
  /** Whoever exchanged an EAB key. */
  readonly exchangedBy?: readonly SpiffeIdPattern[];
  readonly times?: readonly TimeWindow[];
  /** Unix seconds; the rule holds from the first and before the second. */
  readonly validFrom?: number;
  readonly validUntil?: number;
  readonly when?: Expression;
}
export type Condition = keyof Conditions | 'wildcardNames';

export interface AudiencePattern {
  covers(name: string): boolean;
  touches(name: string): boolean;
}

/** `*` at the end stands for any text. */
export function audiencePattern(text: string): AudiencePattern {
  const start = text.endsWith('*') ? text.slice(0, -1) : undefined;
  const matches = (name: string): boolean =>
    start === undefined ? name === text : name.startsWith(start);
  return { covers: matches, touches: matches };
}

/** Callers by SPIFFE ID, `uid:N`, or the ID of the issuer of a token. */
export interface CallerPattern {
  readonly text: string;
  /** `id`: the name as a SPIFFE ID; undefined: it is none. */
  readonly matches: (name: string, id: SpiffeId | undefined) => boolean;
}

export interface Rule {
  readonly name: string;
  readonly effect: Effect;
  /** Told to the caller whom the rule denies. */
  readonly message: string;
  readonly conditions: Conditions;
  /** `conditionsOf` its conditions. */
  readonly order: readonly SimpleCondition[];
  /** An allow with this lets wildcard names pass where a pattern covers them. */
  readonly wildcardNames: boolean;
  /** Of an allow. The decision does not ask what is taken; the last transaction does. */
  readonly quota: Quota | undefined;
  /** As it stands in the file, as JSON. */
  readonly source: string;
}

/** Each request is asked about by many rules, and its caller is parsed once. */
const parsedCallers = new WeakMap<PolicyFacts, Result<SpiffeId>>();

function callerIdOf(facts: PolicyFacts): SpiffeId | undefined {
  let id = parsedCallers.get(facts);
  if (id === undefined) parsedCallers.set(facts, (id = SpiffeId.parse(facts.callerName)));
  return id.ok ? id.value : undefined;
}

type Check = (rule: Rule, facts: PolicyFacts) => boolean;

const inSet =
  <Key extends keyof Conditions>(
    condition: Key,
    value: (facts: PolicyFacts) => string | undefined,
  ): Check =>
  ({ conditions }, facts) => {
    const set = conditions[condition] as ReadonlySet<string>;
    const own = value(facts);
    return own !== undefined && set.has(own);
  };

/** An allow asks for every name, a deny for one. What can have no such names fulfils neither. */
function names<Pattern extends { covers(name: string): boolean; touches(name: string): boolean }>(
  { effect }: Rule,
  patterns: readonly Pattern[],
  own: readonly string[] | undefined,
): boolean {
  if (own === undefined) return false;
  return effect === 'allow'
    ? own.every((name) => patterns.some((pattern) => pattern.covers(name)))
    : own.some((name) => patterns.some((pattern) => pattern.touches(name)));
}

export type SimpleCondition = Exclude<keyof Conditions, 'when'>;

/** The cheap checks come first. */
const checks: { readonly [Key in SimpleCondition]-?: Check } = {
  kinds: inSet('kinds', ({ kind }) => kind),
  callers: inSet('callers', ({ caller }) => caller),
  profiles: inSet('profiles', ({ profile }) => profile),
  keyTypes: inSet('keyTypes', ({ keyType }) => keyType),
  entries: inSet('entries', ({ entryId }) => entryId),
  delegations: inSet('delegations', delegationOf),
  tenants: inSet('tenants', ({ tenant }) => tenant),
  eabKeys: inSet('eabKeys', ({ eabKeyId }) => eabKeyId),
  validFrom: ({ conditions: { validFrom = 0 } }, { at }) => at >= validFrom,
  validUntil: ({ conditions: { validUntil = 0 } }, { at }) => at < validUntil,
  times: ({ conditions: { times = [] } }, { at }) => times.some((window) => isWithin(window, at)),
  ttl: ({ conditions: { ttl } }, { ttlSeconds = Infinity }) =>
    ttl !== undefined && ttlSeconds >= ttl.min && ttlSeconds <= ttl.max,
  spiffeIds: ({ conditions: { spiffeIds = [] } }, { spiffeId }) =>
    spiffeId !== undefined && spiffeIds.some((pattern) => pattern.matches(spiffeId)),
  exchangedBy: ({ conditions: { exchangedBy = [] } }, facts) =>
    facts.exchangedBy !== undefined && matchesId(exchangedBy, facts.exchangedBy),
  callerIds: ({ conditions: { callerIds = [] } }, facts) =>
    callerIds.some((pattern) => pattern.matches(facts.callerName, callerIdOf(facts))),
  dnsNames: (rule, facts) => names(rule, rule.conditions.dnsNames ?? [], facts.dnsNames),
  ips: (rule, facts) =>
    names(rule, rule.conditions.ips ?? [], facts.ips) ||
    // an address among the DNS names counts as an address for who denies it
    (rule.effect === 'deny' && names(rule, rule.conditions.ips ?? [], facts.dnsNames)),
  audiences: (rule, facts) => names(rule, rule.conditions.audiences ?? [], facts.audiences),
};

function matchesId(patterns: readonly SpiffeIdPattern[], text: string): boolean {
  const id = SpiffeId.parse(text);
  return id.ok && patterns.some((pattern) => pattern.matches(id.value));
}

const everyCondition = Object.keys(checks) as readonly SimpleCondition[];

/** Those that are stated, in the order in which they are looked at. */
export const conditionsOf = (conditions: Conditions): readonly SimpleCondition[] =>
  everyCondition.filter((key) => conditions[key] !== undefined);

const matching: Result<Condition | undefined> = ok(undefined);

/**
 * The first condition that does not hold; undefined if the rule matches. Fails with POLICY_FAILED if
 * its expression can not be decided.
 */
export function mismatch(rule: Rule, facts: PolicyFacts): Result<Condition | undefined> {
  const simple = simpleMismatch(rule, facts);
  const { when } = rule.conditions;
  if (simple !== undefined || when === undefined)
    return simple === undefined ? matching : ok(simple);
  const holds = when.holds(facts);
  return holds.ok ? (holds.value ? matching : ok('when')) : holds;
}

function simpleMismatch(rule: Rule, facts: PolicyFacts): Condition | undefined {
  if (
    rule.effect === 'allow' &&
    !rule.wildcardNames &&
    facts.dnsNames?.some((name) => name.startsWith('*.')) === true
  )
    return 'wildcardNames';
  return rule.order.find((key) => !checks[key](rule, facts));
}
