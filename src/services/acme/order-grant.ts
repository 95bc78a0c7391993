import { PkiError } from '../../common/errors/index.ts';
import type { QuotaPlace } from '../../common/policy/index.ts';
import {
  checkNames,
  namesLives,
  orderIdentifiers,
  uncoveredName,
  type AcmeOrder,
  type Authorization,
  type ChallengeType,
  type EabKey,
  type NamesProfile,
  type NamesSubject,
  type OrderIdentifier,
  type ReservedDnsName,
} from '../../domain/index.ts';
import { problem, refuse, type AcmeResult, accepted } from './problem.ts';
import { offeredChallenges } from './offered-challenges.ts';

/** The names of an order, as the subject of its certificate. */
export const orderSubject = (identifiers: readonly OrderIdentifier[]): NamesSubject => ({
  kind: 'names',
  dnsNames: valuesOf(identifiers, 'dns'),
  ips: valuesOf(identifiers, 'ip'),
});

export const subjectOf = (order: Pick<AcmeOrder, 'authorizations'>): NamesSubject =>
  orderSubject(orderIdentifiers(order));

const valuesOf = (
  identifiers: readonly OrderIdentifier[],
  type: OrderIdentifier['type'],
): readonly string[] => identifiers.filter((each) => each.type === type).map(({ value }) => value);

/** Judges every name of an order, and names all that are refused in one problem. */
export function judgeNames(
  identifiers: readonly OrderIdentifier[],
  grant: Pick<EabKey, 'dnsPatterns' | 'ipRanges' | 'wildcards'>,
  reserved: readonly ReservedDnsName[],
): AcmeResult<NamesSubject> {
  const refused = identifiers.flatMap((identifier) => {
    const why = refusalOf(identifier, grant, reserved);
    return why === undefined
      ? []
      : [{ type: 'rejectedIdentifier' as const, detail: why, identifier }];
  });
  const [first] = refused;
  if (first === undefined) return accepted(orderSubject(identifiers));
  return problem(
    'rejectedIdentifier',
    refused.length === 1 ? first.detail : `${refused.length} names are refused: ${first.detail} …`,
    { subproblems: refused },
  );
}

function refusalOf(
  identifier: OrderIdentifier,
  grant: Pick<EabKey, 'dnsPatterns' | 'ipRanges' | 'wildcards'>,
  reserved: readonly ReservedDnsName[],
): string | undefined {
  const subject = orderSubject([identifier]);
  const uncovered = uncoveredName(grant, subject);
  if (uncovered !== undefined)
    return (
      `the EAB key of the account does not grant ${uncovered}. ` +
      'Ask the operators of this CA for a key that does'
    );
  try {
    checkNames(subject, reserved);
    return undefined;
  } catch (thrown) {
    return PkiError.from(thrown).message;
  }
}

/** The profile of an order (draft-ietf-acme-profiles). @throws AcmeRefusal invalidProfile */
export function profileOf(
  asked: string | undefined,
  { profiles }: Pick<EabKey, 'profiles'>,
): NamesProfile {
  const [usual] = profiles;
  if (usual === undefined) return refuse('invalidProfile', 'the EAB key grants no profile');
  if (asked === undefined) return usual;
  const profile = profiles.find((each) => each === asked);
  return (
    profile ??
    refuse(
      'invalidProfile',
      `the EAB key of the account does not grant the profile ${JSON.stringify(asked)}. It ` +
        `grants: ${profiles.join(', ')}`,
    )
  );
}

/** The life of a certificate in seconds. */
export const lifeOf = (
  profile: NamesProfile,
  { ttlSeconds }: Pick<EabKey, 'ttlSeconds'>,
): number =>
  ttlSeconds === 0 ? namesLives[profile].usual : Math.min(ttlSeconds, namesLives[profile].maximum);

/** What a certificate takes of the quota of an EAB key. */
export const placesOf = ({
  id,
  quotaCertificates: limit,
  quotaSeconds: perSeconds,
}: Pick<EabKey, 'id' | 'quotaCertificates' | 'quotaSeconds'>): readonly QuotaPlace[] =>
  limit === 0 ? [] : [{ counter: `eab-key:${id}`, of: 'eab-key', rule: id, limit, perSeconds }];

export interface AuthorizationPlan {
  readonly key: Pick<EabKey, 'proof' | 'challengeTypes'>;
  /** Those of the configuration. */
  readonly challengeTypes: readonly ChallengeType[];
  readonly expiresAt: number;
  /** Makes the token of one authorization. */
  readonly token: () => string;
}

/** The authorization of one identifier of a new order. @throws AcmeRefusal rejectedIdentifier */
export function authorizationOf(
  { type, value }: OrderIdentifier,
  { key, challengeTypes, expiresAt, token }: AuthorizationPlan,
): Authorization {
  const wildcard = value.startsWith('*.');
  const common = { identifier: { type, value: wildcard ? value.slice(2) : value }, wildcard };
  if (key.proof === 'owner')
    return {
      ...common,
      status: 'valid',
      shownBy: 'owner',
      expiresAt,
      token: '',
      challenges: [],
    };
  const offered = offeredChallenges(common, key, challengeTypes);
  if (offered.length === 0)
    refuse(
      'rejectedIdentifier',
      `no challenge that is offered here can show control over ${value}`,
      {
        subproblems: [
          { type: 'rejectedIdentifier', detail: 'no challenge fits', identifier: { type, value } },
        ],
      },
    );
  return {
    ...common,
    status: 'pending',
    shownBy: 'challenge',
    expiresAt,
    token: token(),
    challenges: offered.map((each) => ({
      type: each,
      status: 'pending',
      validatedAt: null,
      problem: null,
    })),
  };
}
