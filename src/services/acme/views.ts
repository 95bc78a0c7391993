import {
  authorizationAt,
  orderIdentifiers,
  orderStatusAt,
  type AcmeOrder,
  type Authorization,
  type Challenge,
  type StoredProblem,
} from '../../domain/index.ts';
import { advisedProblem } from './challenge-advice.ts';
import type { AcmeUrls } from './urls.ts';

type Json = Readonly<Record<string, unknown>>;

export interface ViewOptions {
  readonly urls: AcmeUrls;
  readonly now: number;
  /** The domain names of this CA, for challenges that name their issuer. */
  readonly caaIdentities: readonly string[];
}

/** RFC 3339, in whole seconds. */
export const instantText = (seconds: number): string =>
  `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;

const problemView = ({ type, detail }: StoredProblem): Json => ({
  type: `urn:ietf:params:acme:error:${type}`,
  detail,
});

/**
 * An order (RFC 8555 section 7.1.3). `replaces`: the identifier of the replaced certificate
 * (RFC 9773 section 5), as the client sent it.
 */
export function orderView(
  order: AcmeOrder,
  replaces: string | undefined,
  { urls, now }: Pick<ViewOptions, 'urls' | 'now'>,
): Json {
  const status = orderStatusAt(order, now);
  return {
    status,
    expires: instantText(order.expiresAt),
    identifiers: orderIdentifiers(order).map(({ type, value }) => ({ type, value })),
    profile: order.profile,
    ...(replaces === undefined ? {} : { replaces }),
    authorizations: order.authorizations.map((_, place) => urls.authorization(order.id, place)),
    finalize: urls.finalize(order.id),
    ...(order.serial === null ? {} : { certificate: urls.certificate(order.serial) }),
    ...(status === 'invalid'
      ? { error: problemView(order.problem ?? whyInvalid(order, now)) }
      : {}),
  };
}

/** What of an order without a problem of its own has ended. */
function whyInvalid(order: AcmeOrder, now: number): StoredProblem {
  for (const { status, challenges } of order.authorizations) {
    if (status !== 'invalid') continue;
    for (const { type, problem } of challenges)
      if (problem !== null) return advisedProblem(type, problem);
  }
  return now > order.expiresAt
    ? { type: 'malformed', detail: 'the order has expired. Make another one' }
    : {
        type: 'unauthorized',
        detail: 'an authorization of the order has ended. Make another order',
      };
}

/** An authorization (RFC 8555 section 7.1.4). `wildcard` is true or absent: some clients grep. */
export function authorizationView(
  order: Pick<AcmeOrder, 'id'>,
  place: number,
  authorization: Authorization,
  options: ViewOptions,
): Json {
  const { type, value } = authorization.identifier;
  const status = authorizationAt(authorization, options.now);
  return {
    status,
    expires: instantText(authorization.expiresAt),
    identifier: { type, value },
    ...(authorization.wildcard ? { wildcard: true } : {}),
    challenges: shownChallenges(authorization, status).map((challenge) =>
      challengeView(order, place, { authorization, challenge }, options),
    ),
  };
}

/** A decided authorization shows the challenge that decided it (RFC 8555 section 7.1.4). */
function shownChallenges(
  { challenges }: Authorization,
  status: ReturnType<typeof authorizationAt>,
): readonly Challenge[] {
  const deciding = challenges.filter((challenge) => challenge.status === status);
  return (status === 'valid' || status === 'invalid') && deciding.length > 0
    ? deciding
    : challenges;
}

/** A challenge (RFC 8555 section 8). Its URL is the one to which a client posts. */
export function challengeView(
  { id }: Pick<AcmeOrder, 'id'>,
  place: number,
  {
    authorization: { token },
    challenge: { type, status, validatedAt, problem },
  }: { readonly authorization: Authorization; readonly challenge: Challenge },
  { urls, caaIdentities }: ViewOptions,
): Json {
  return {
    type,
    url: urls.challenge(id, place, type),
    status,
    // the draft of dns-persist-01 has no token, and names the issuers that a record may state
    ...(type === 'dns-persist-01' ? { 'issuer-domain-names': caaIdentities } : { token }),
    ...(validatedAt === null ? {} : { validated: instantText(validatedAt) }),
    ...(problem === null ? {} : { error: problemView(advisedProblem(type, problem)) }),
  };
}
