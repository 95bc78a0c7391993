import type { ChallengeType, OrderIdentifier } from '../../common/validation/challenge.ts';
import type { NamesProfile } from '../certificate.ts';
import type { Perspective } from './corroboration.ts';

/** RFC 8555 section 7.1.6. */
export const orderStatuses = ['pending', 'ready', 'processing', 'valid', 'invalid'] as const;
export type OrderStatus = (typeof orderStatuses)[number];

export const authorizationStatuses = [
  'pending',
  'valid',
  'invalid',
  'deactivated',
  'expired',
  'revoked',
] as const;
export type AuthorizationStatus = (typeof authorizationStatuses)[number];

export const challengeStatuses = ['pending', 'processing', 'valid', 'invalid'] as const;
export type ChallengeStatus = (typeof challengeStatuses)[number];

/** A problem as it is stored: a type of RFC 8555 section 6.7 and its detail. */
export interface StoredProblem {
  readonly type: string;
  readonly detail: string;
}

export interface Challenge {
  readonly type: ChallengeType;
  readonly status: ChallengeStatus;
  /** Unix seconds; null until it is valid. */
  readonly validatedAt: number | null;
  /** Of a challenge that is still processing: why it has no verdict yet (RFC 8555 section 8.2). */
  readonly problem: StoredProblem | null;
  /** What was seen from elsewhere. Absent: nobody else was asked. */
  readonly perspectives?: readonly Perspective[];
}

/** The authorization of one identifier for one order. Its ID is that of the order and its place. */
export interface Authorization {
  /** Without `*.`: see `wildcard`. */
  readonly identifier: OrderIdentifier;
  readonly wildcard: boolean;
  /** As it was decided last. What time makes of it, `authorizationAt` says. */
  readonly status: Exclude<AuthorizationStatus, 'expired'>;
  /**
   * `owner`: the account owns the name, so that it shows nothing: it authorizes no revocation of
   * what another account was issued.
   */
  readonly shownBy: 'challenge' | 'owner';
  readonly expiresAt: number;
  /** Base64url of 32 random bytes, the same for all challenges; empty with `owner`. */
  readonly token: string;
  /** One for each offered type; none with `owner`. */
  readonly challenges: readonly Challenge[];
  /** When its CAA records were looked at again before the certificate. Absent: never. */
  readonly caaAt?: number;
}

/** When the CAA records of a name were looked at last, Unix seconds. 0: never. */
export const caaAt = ({ challenges, caaAt: again = 0 }: Authorization): number =>
  Math.max(again, ...challenges.map(({ validatedAt }) => validatedAt ?? 0));

/** An order with its authorizations: one row, one object in the log, one right. */
export interface AcmeOrder {
  /** UUIDv7. Also the request ID of its certificate. */
  readonly id: string;
  readonly accountId: string;
  /** Those of its account. */
  readonly eabKeyId: string;
  readonly tenant: string;
  /** One for each identifier, in the order of the request. */
  readonly authorizations: readonly Authorization[];
  readonly profile: NamesProfile;
  /** The serial of the certificate that this one replaces (RFC 9773 section 5); null: none. */
  readonly replaces: string | null;
  /**
   * `finalizing`: the CSR is stored, and issuing goes on until the certificate is there or the
   * caller was at fault. `open`: pending or ready, as its authorizations say.
   */
  readonly stage: 'open' | 'finalizing' | 'issued' | 'failed';
  readonly csrDer: Buffer | null;
  /** Lower-case hex; null until issued. */
  readonly serial: string | null;
  readonly problem: StoredProblem | null;
  /** Nothing is begun from then on. */
  readonly expiresAt: number;
  readonly createdAt: number;
  /** For compare-and-set: grows by one with each change. */
  readonly version: number;
}

/** The identifiers as they were ordered, wildcards with their `*.`. */
export const orderIdentifiers = ({
  authorizations,
}: Pick<AcmeOrder, 'authorizations'>): readonly OrderIdentifier[] =>
  authorizations.map(({ identifier, wildcard }) =>
    wildcard ? { ...identifier, value: `*.${identifier.value}` } : identifier,
  );

/** An authorization with what time has made of it. Both ends of its life are inclusive. */
export const authorizationAt = (
  { status, expiresAt }: Pick<Authorization, 'status' | 'expiresAt'>,
  now: number,
): AuthorizationStatus =>
  (status === 'pending' || status === 'valid') && now > expiresAt ? 'expired' : status;

/**
 * The status of an order, from its stage and its authorizations (RFC 8555 section 7.1.6). Pure: an
 * authorization that ends takes every open order with it.
 */
export function orderStatusAt(
  order: Pick<AcmeOrder, 'stage' | 'expiresAt'> & {
    readonly authorizations: readonly Pick<Authorization, 'status' | 'expiresAt'>[];
  },
  now: number,
): OrderStatus {
  if (order.stage === 'issued') return 'valid';
  if (order.stage === 'failed') return 'invalid';
  if (order.stage === 'finalizing') return 'processing';
  const statuses = order.authorizations.map((authorization) => authorizationAt(authorization, now));
  if (
    now > order.expiresAt ||
    statuses.some((status) => status !== 'pending' && status !== 'valid')
  )
    return 'invalid';
  return statuses.every((status) => status === 'valid') ? 'ready' : 'pending';
}

/** The result of a validation attempt. */
export type ChallengeVerdict = (
  | { readonly valid: true; readonly at: number }
  | { readonly valid: false; readonly problem: StoredProblem }
) & {
  /** Absent or empty: nobody else was asked. */
  readonly perspectives?: readonly Perspective[];
};

/**
 * The authorization after a challenge was judged. The first verdict decides: a valid challenge
 * makes it valid, a failed one makes it invalid (RFC 8555 section 7.1.6). Undefined: nothing
 * changes, because it was decided before, or there is no such challenge under way.
 */
export function afterVerdict(
  authorization: Authorization,
  type: ChallengeType,
  verdict: ChallengeVerdict,
  { now, validSeconds }: { readonly now: number; readonly validSeconds: number },
): Authorization | undefined {
  const judged = authorization.challenges.find((each) => each.type === type);
  if (judged?.status !== 'processing' || authorizationAt(authorization, now) !== 'pending')
    return undefined;
  const seen = withPerspectives(judged, verdict.perspectives);
  const after: Challenge = verdict.valid
    ? { ...seen, status: 'valid', validatedAt: verdict.at, problem: null }
    : { ...seen, status: 'invalid', problem: verdict.problem };
  return {
    ...authorization,
    status: verdict.valid ? 'valid' : 'invalid',
    expiresAt: verdict.valid ? now + validSeconds : authorization.expiresAt,
    challenges: authorization.challenges.map((each) => (each.type === type ? after : each)),
  };
}

/**
 * The authorization after an attempt that led to no verdict: the challenge is still processing, and
 * says why. Undefined: it is decided, or says so already.
 */
export function afterShortfall(
  authorization: Authorization,
  type: ChallengeType,
  shortfall: { readonly problem: StoredProblem; readonly perspectives: readonly Perspective[] },
  now: number,
): Authorization | undefined {
  const judged = authorization.challenges.find((each) => each.type === type);
  if (judged?.status !== 'processing' || authorizationAt(authorization, now) !== 'pending')
    return undefined;
  const { problem, perspectives } = shortfall;
  if (judged.problem?.detail === problem.detail) return undefined;
  const after = { ...withPerspectives(judged, perspectives), problem };
  return {
    ...authorization,
    challenges: authorization.challenges.map((each) => (each.type === type ? after : each)),
  };
}

/** What an earlier attempt saw does not stay. */
function withPerspectives(before: Challenge, perspectives: readonly Perspective[] = []): Challenge {
  const { perspectives: _, ...challenge } = before;
  return perspectives.length === 0 ? challenge : { ...challenge, perspectives };
}

/**
 * The authorization after its account asked to validate a challenge. Undefined: it is decided, or
 * was asked for before, which is no error (RFC 8555 section 7.5.1).
 */
export function afterResponse(
  authorization: Authorization,
  type: ChallengeType,
  now: number,
): Authorization | undefined {
  const asked = authorization.challenges.find((each) => each.type === type);
  if (asked?.status !== 'pending' || authorizationAt(authorization, now) !== 'pending')
    return undefined;
  return {
    ...authorization,
    challenges: authorization.challenges.map((each) =>
      each.type === type ? { ...each, status: 'processing' } : each,
    ),
  };
}
