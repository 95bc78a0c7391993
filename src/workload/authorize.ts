import { unwrap } from '../common/errors/index.ts';
import { SpiffeId, SpiffeIdPattern, TrustDomain } from '../common/spiffe/index.ts';

/**
 * Decides by a **verified** SPIFFE ID which peers may talk with this workload. Pure. Called once
 * per connection.
 */
export interface Authorizer {
  /** For messages: which peers would be admitted. */
  readonly description: string;
  admits(id: SpiffeId): boolean;
}

/**
 * Admits exactly these IDs. Throws SPIFFE_ID_INVALID, also for an empty list, which would admit
 * nobody.
 */
export function authorizeId(
  ...ids: readonly [string | SpiffeId, ...(string | SpiffeId)[]]
): Authorizer {
  const wanted = new Set(ids.map((id) => unwrap(SpiffeId.parse(id.toString())).toString()));
  return { description: [...wanted].join(' or '), admits: (id) => wanted.has(id.toString()) };
}

/**
 * Admits every identity of these trust domains, own or foreign. Throws TRUST_DOMAIN_INVALID, also for
 * an empty list, which would admit nobody.
 */
export function authorizeMemberOf(
  ...trustDomains: readonly [string | TrustDomain, ...(string | TrustDomain)[]]
): Authorizer {
  const given: readonly (string | TrustDomain)[] = trustDomains;
  const names = new Set(
    // plain JavaScript can give none
    (given.length === 0 ? [''] : given).map(
      (each) => unwrap(TrustDomain.parse(each.toString())).name,
    ),
  );
  return {
    description: `any identity of ${[...names].join(' or ')}`,
    admits: (id) => names.has(id.trustDomain.name),
  };
}

/**
 * Admits IDs that match one of the patterns. `*` stands for one whole segment, a trailing `/**` for
 * one or more. Throws PATTERN_INVALID.
 */
export function authorizePattern(...patterns: readonly [string, ...string[]]): Authorizer {
  const parsed = patterns.map((pattern) => unwrap(SpiffeIdPattern.parse(pattern)));
  return {
    description: parsed.map(String).join(' or '),
    admits: (id) => parsed.some((pattern) => pattern.matches(id)),
  };
}

/**
 * Admits every valid SVID of a trust domain whose bundle this workload has, also of the foreign ones
 * that its entry names. This is authentication without authorization, so use it only on purpose.
 */
export const authorizeAny = (): Authorizer => ({
  description: 'any verified identity',
  admits: () => true,
});

/** Admits IDs by a rule of your own. */
export const authorizeBy = (
  description: string,
  admits: (id: SpiffeId) => boolean,
): Authorizer => ({ description, admits });
