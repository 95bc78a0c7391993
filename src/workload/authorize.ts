import { unwrap } from '../common/errors/index.ts';
import { SpiffeId, SpiffeIdPattern, TrustDomain } from '../common/spiffe/index.ts';

/**
 * Decides by a **verified** SPIFFE ID who may talk with this workload. Pure; called once per
 * connection.
 */
export interface Authorizer {
  /** For messages: who would have been admitted. */
  readonly description: string;
  admits(id: SpiffeId): boolean;
}

/**
 * Exactly these IDs. Throws SPIFFE_ID_INVALID; an empty list is refused too, since it would admit
 * nobody.
 */
export function authorizeId(
  ...ids: readonly [string | SpiffeId, ...(string | SpiffeId)[]]
): Authorizer {
  const wanted = new Set(ids.map((id) => unwrap(SpiffeId.parse(id.toString())).toString()));
  return { description: [...wanted].join(' or '), admits: (id) => wanted.has(id.toString()) };
}

/** Every identity of one trust domain. */
export function authorizeMemberOf(trustDomain: string | TrustDomain): Authorizer {
  const { name } = unwrap(TrustDomain.parse(trustDomain.toString()));
  return { description: `any identity of ${name}`, admits: (id) => id.trustDomain.name === name };
}

/**
 * IDs that match one of the patterns: `*` is one whole segment, a trailing `/**` one or more.
 * Throws PATTERN_INVALID.
 */
export function authorizePattern(...patterns: readonly [string, ...string[]]): Authorizer {
  const parsed = patterns.map((pattern) => unwrap(SpiffeIdPattern.parse(pattern)));
  return {
    description: parsed.map(String).join(' or '),
    admits: (id) => parsed.some((pattern) => pattern.matches(id)),
  };
}

/**
 * Everybody with a valid SVID of a trust domain whose bundle this workload holds. Authentication
 * without authorization: say so on purpose.
 */
export const authorizeAny = (): Authorizer => ({
  description: 'any verified identity',
  admits: () => true,
});

/** A rule of your own. */
export const authorizeBy = (
  description: string,
  admits: (id: SpiffeId) => boolean,
): Authorizer => ({ description, admits });
