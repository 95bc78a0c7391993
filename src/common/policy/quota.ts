import type { PolicyFacts } from './facts.ts';

export const quotaBases = ['caller', 'spiffe-id', 'rule'] as const;

/** How many certificates and JWT-SVIDs a rule allows within a time. */
export interface Quota {
  readonly count: number;
  readonly perSeconds: number;
  /** What is counted apart: each caller, each SPIFFE ID, or nothing. */
  readonly by: (typeof quotaBases)[number];
}

/** Whose quota it is: a rule of the policy, a tenant, or a key for ACME accounts. */
export type QuotaOwner = 'rule' | 'tenant' | 'eab-key';

/** The place that a request takes in a quota. */
export interface QuotaPlace {
  /** Names what is counted together. Outside the policy `tenant:NAME` or `eab-key:ID`. */
  readonly counter: string;
  /** Absent: a rule of the policy. */
  readonly of?: QuotaOwner;
  /** The rule, the tenant or the ID of the key. */
  readonly rule: string;
  /** Places of the counter. */
  readonly limit: number;
  /** How long a place is taken, in seconds. */
  readonly perSeconds: number;
}

export const placeOf = (
  rule: string,
  { count, perSeconds, by }: Quota,
  facts: PolicyFacts,
): QuotaPlace => ({
  counter: by === 'rule' ? rule : `${rule} ${by} ${keyOf(by, facts)}`,
  rule,
  limit: count,
  perSeconds,
});

/** What has no SPIFFE ID is counted by its DNS names, and a CA downstream by its caller. */
function keyOf(by: 'caller' | 'spiffe-id', facts: PolicyFacts): string {
  if (by === 'caller') return facts.callerName;
  return facts.spiffeId?.toString() ?? ((facts.dnsNames ?? []).join(',') || facts.callerName);
}

/**
 * When a place is free, Unix seconds; undefined: one is free at `now`.
 *
 * @param ends when the places that are taken are free again, in any order
 */
export function nextFreePlace(
  { limit }: Pick<QuotaPlace, 'limit'>,
  ends: readonly number[],
  now: number,
): number | undefined {
  const taken = ends.filter((until) => until > now);
  if (taken.length < limit) return undefined;
  return taken.sort((one, other) => one - other)[taken.length - limit];
}
