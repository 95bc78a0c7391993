import { fail, ok, PkiError, unwrap, type ErrorCode, type Result } from '../common/errors/index.ts';
import {
  parseDnsName,
  SpiffeIdPattern,
  type SpiffeId,
  type TrustDomain,
} from '../common/spiffe/index.ts';
import { keyTypes, type KeyType } from '../common/x509/key-type.ts';
import {
  delegationProfiles,
  isNamesProfile,
  maximumLifeOf,
  type DelegationProfile,
  type NamesProfile,
} from './certificate.ts';
import type { Delegation } from './delegation.ts';
import { userSpiffeId } from './entry-rules.ts';
import { checkIpRange, dnsPatternMatches, uncoveredName } from './names.ts';
import type { Proven } from './proven.ts';
import { reservationOf, reservedText, type ReservedDnsName } from './reserved-names.ts';
import { subjectNames, type NamesSubject } from './subject.ts';

export interface DelegationLimits {
  readonly trustDomain: TrustDomain;
  readonly minimumTtlSeconds: number;
  readonly maximumX509TtlSeconds: number;
  /** Reserved IDs that may have delegations: those of the configured control planes. */
  readonly controlPlaneIds: readonly string[];
  readonly reservedDnsNames: readonly ReservedDnsName[];
}

export type DelegationDraft = Pick<
  Delegation,
  | 'clientId'
  | 'patterns'
  | 'maxTtlSeconds'
  | 'keyTypes'
  | 'dnsPatterns'
  | 'ipRanges'
  | 'wildcards'
  | 'profile'
  | 'expiresAt'
>;

const maximumPatterns = 100;

/** A delegation as an operator states it. */
export interface DelegationInput {
  readonly clientId: string;
  readonly patterns: readonly string[];
  readonly maxTtlSeconds: number;
  readonly keyTypes: readonly string[];
  readonly dnsPatterns: readonly string[];
  readonly ipRanges: readonly string[];
  readonly wildcards: boolean;
  readonly profile: string;
  readonly expiresAt: number;
}

/**
 * The delegation in the form that may be stored.
 *
 * @throws PkiError with the code of the broken rule
 */
export function checkDelegation(
  input: DelegationInput,
  limits: DelegationLimits,
  now: number,
): DelegationDraft {
  const clientId = clientOf(input.clientId, limits);
  const profile = profileOf(input.profile);
  checkPatterns(input, limits, profile);
  checkMaximumTtl(input.maxTtlSeconds, profile, limits);
  const allowedKeys = keyTypesOf(input.keyTypes);
  if (
    !Number.isSafeInteger(input.expiresAt) ||
    input.expiresAt < 0 ||
    (input.expiresAt !== 0 && input.expiresAt <= now)
  )
    throw new PkiError('INVALID_REQUEST', 'expires_at must be 0 (never) or in the future');
  return {
    clientId,
    patterns: [...new Set(input.patterns)].sort(),
    maxTtlSeconds: input.maxTtlSeconds,
    keyTypes: allowedKeys,
    dnsPatterns: [...new Set(input.dnsPatterns)].sort(),
    ipRanges: [...new Set(input.ipRanges.map(checkIpRange))].sort(),
    wildcards: input.wildcards,
    profile,
    expiresAt: input.expiresAt,
  };
}

function checkPatterns(
  { patterns, dnsPatterns, ipRanges, wildcards }: DelegationInput,
  { trustDomain, reservedDnsNames }: DelegationLimits,
  profile: DelegationProfile,
): void {
  const ofNames = isNamesProfile(profile);
  if (ofNames && patterns.length > 0)
    throw new PkiError(
      'PATTERN_INVALID',
      `a delegation of the profile ${profile} has DNS patterns and IP ranges, and no SPIFFE ID patterns`,
      { next: 'Leave the SPIFFE ID patterns out, or make a second delegation for them.' },
    );
  if (!ofNames && (ipRanges.length > 0 || wildcards))
    throw new PkiError(
      'INVALID_REQUEST',
      `certificates of the profile ${profile} have neither IP addresses nor wildcard names`,
      { next: 'Leave ip_ranges and wildcards out, or use the profile short, classic or hours.' },
    );
  if (patterns.length === 0 && (!ofNames || dnsPatterns.length + ipRanges.length === 0))
    throw new PkiError('PATTERN_INVALID', 'the delegation has no pattern: it would allow nothing');
  if ([patterns, dnsPatterns, ipRanges].some(({ length }) => length > maximumPatterns))
    throw new PkiError('INVALID_REQUEST', `a delegation has at most ${maximumPatterns} patterns`);
  for (const text of patterns) checkPattern(text, trustDomain);
  for (const text of dnsPatterns) checkDnsPattern(text, reservedDnsNames);
}

function profileOf(text: string): DelegationProfile {
  const profile = (text === '' ? 'short-lived' : text) as DelegationProfile;
  if (delegationProfiles.includes(profile)) return profile;
  throw new PkiError(
    'INVALID_REQUEST',
    `profile ${JSON.stringify(text.slice(0, 40))} is not one of ${delegationProfiles.join(', ')}`,
  );
}

function checkMaximumTtl(
  seconds: number,
  profile: DelegationProfile,
  limits: DelegationLimits,
): void {
  const { minimumTtlSeconds: minimum, maximumX509TtlSeconds } = limits;
  const ofProfile = maximumLifeOf(profile) ?? maximumX509TtlSeconds;
  const maximum = isNamesProfile(profile) ? ofProfile : Math.min(ofProfile, maximumX509TtlSeconds);
  if (!Number.isSafeInteger(seconds) || seconds < minimum || seconds > maximum)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the maximum lifetime of ${seconds} s is outside ${minimum} to ${maximum} s`,
    );
}

/** All key types if none is named. */
export function keyTypesOf(names: readonly string[]): readonly KeyType[] {
  const unknown = names.find((type) => !keyTypes.includes(type as KeyType));
  if (unknown !== undefined)
    throw new PkiError(
      'KEY_UNSUPPORTED',
      `key type ${JSON.stringify(unknown.slice(0, 40))} is not one of ${keyTypes.join(', ')}`,
    );
  return names.length === 0 ? keyTypes : keyTypes.filter((type) => names.includes(type));
}

/**
 * The text before the first wildcard, and whether there is a wildcard. Used for the rule that
 * nobody can delegate more than he has.
 */
export function patternReach(pattern: string): {
  readonly prefix: string;
  readonly exact: boolean;
} {
  const star = pattern.indexOf('*');
  return star < 0
    ? { prefix: pattern, exact: true }
    : { prefix: pattern.slice(0, star), exact: false };
}

export interface DelegatedAsk {
  readonly spiffeId: SpiffeId;
  readonly dnsNames: readonly string[];
  /** 0: the maximum of the delegation. */
  readonly ttlSeconds: number;
  readonly keyType: KeyType;
}

/**
 * The first active delegation that allows the whole request. Rights of several delegations never
 * add up. Fails with the code of the delegation that comes closest: OUTSIDE_DELEGATION (ID or DNS
 * name), KEY_UNSUPPORTED, TTL_OUT_OF_RANGE.
 */
export function chooseDelegation(
  delegations: readonly Proven<Delegation>[],
  ask: DelegatedAsk,
): Result<{ readonly delegation: Proven<Delegation>; readonly ttlSeconds: number }> {
  let closest = {
    rank: 0,
    code: 'OUTSIDE_DELEGATION' as ErrorCode,
    message: () => `${ask.spiffeId.toString()} matches no pattern of an active delegation`,
  };
  // the text is made only for a refusal
  const miss = (rank: number, code: ErrorCode, message: () => string): void => {
    if (rank > closest.rank) closest = { rank, code, message };
  };
  for (const delegation of delegations) {
    // one of names has no patterns
    if (!patternsOf(delegation).some((pattern) => pattern.matches(ask.spiffeId))) continue;
    const name = ask.dnsNames.find(
      (requested) =>
        !delegation.dnsPatterns.some((pattern) => dnsPatternMatches(pattern, requested)),
    );
    if (name !== undefined)
      miss(
        1,
        'OUTSIDE_DELEGATION',
        () => `the delegation ${delegation.id} does not allow the DNS name ${name}`,
      );
    else if (!delegation.keyTypes.includes(ask.keyType))
      miss(
        2,
        'KEY_UNSUPPORTED',
        () =>
          `the delegation ${delegation.id} allows keys of ${delegation.keyTypes.join(', ')}, not ${ask.keyType}`,
      );
    else if (ask.ttlSeconds < 0 || ask.ttlSeconds > delegation.maxTtlSeconds)
      miss(
        3,
        'TTL_OUT_OF_RANGE',
        () =>
          `the delegation ${delegation.id} allows at most ${delegation.maxTtlSeconds} s, ` +
          `the request asks for ${ask.ttlSeconds} s`,
      );
    else
      return ok({
        delegation,
        ttlSeconds: ask.ttlSeconds === 0 ? delegation.maxTtlSeconds : ask.ttlSeconds,
      });
  }
  return fail(closest.code, closest.message());
}

export interface DelegatedNamesAsk {
  readonly subject: NamesSubject;
  /** Undefined: that of the delegation that is chosen. */
  readonly profile: NamesProfile | undefined;
  /** 0: the maximum of the delegation. */
  readonly ttlSeconds: number;
  readonly keyType: KeyType;
}

/** `chooseDelegation` for names without an identity. Fails with the same codes. */
export function chooseNamesDelegation(
  delegations: readonly Proven<Delegation>[],
  { subject, profile, ttlSeconds, keyType }: DelegatedNamesAsk,
): Result<{ readonly delegation: Proven<Delegation>; readonly ttlSeconds: number }> {
  const ofNames = delegations.filter((each) =>
    profile === undefined ? isNamesProfile(each.profile) : each.profile === profile,
  );
  const covering = ofNames.filter((each) => uncoveredName(each, subject) === undefined);
  const withKey = covering.filter(({ keyTypes: allowed }) => allowed.includes(keyType));
  const fitting = withKey.find(
    ({ maxTtlSeconds }) => ttlSeconds >= 0 && ttlSeconds <= maxTtlSeconds,
  );
  if (fitting !== undefined)
    return ok({
      delegation: fitting,
      ttlSeconds: ttlSeconds === 0 ? fitting.maxTtlSeconds : ttlSeconds,
    });
  const [longest] = withKey.toSorted((one, other) => other.maxTtlSeconds - one.maxTtlSeconds);
  if (longest !== undefined)
    return fail(
      'TTL_OUT_OF_RANGE',
      `the delegation ${longest.id} allows at most ${longest.maxTtlSeconds} s, ` +
        `the request asks for ${ttlSeconds} s`,
    );
  const [covers] = covering;
  if (covers !== undefined)
    return fail(
      'KEY_UNSUPPORTED',
      `the delegation ${covers.id} allows keys of ${covers.keyTypes.join(', ')}, not ${keyType}`,
    );
  const [first] = ofNames;
  return fail(
    'OUTSIDE_DELEGATION',
    first === undefined
      ? `no active delegation allows names without an identity${profile === undefined ? '' : ` of the profile ${profile}`}`
      : ofNames.length === 1
        ? `the delegation ${first.id} does not allow ${uncoveredName(first, subject)}`
        : `no one of ${ofNames.length} active delegations allows all of ${subjectNames(subject).slice(0, 5).join(', ')}`,
  );
}

/**
 * Cached by the list of a delegation. The store returns the same object as long as the row is
 * unchanged.
 */
const parsedPatterns = new WeakMap<readonly string[], readonly SpiffeIdPattern[]>();

function patternsOf({ patterns }: Delegation): readonly SpiffeIdPattern[] {
  let parsed = parsedPatterns.get(patterns);
  if (parsed === undefined) {
    parsed = patterns.map((text) => unwrap(SpiffeIdPattern.parse(text)));
    parsedPatterns.set(patterns, parsed);
  }
  return parsed;
}

/** An identity that a workload can have, or the front of a configured control plane. */
function clientOf(
  text: string,
  { controlPlaneIds, trustDomain }: Pick<DelegationLimits, 'controlPlaneIds' | 'trustDomain'>,
): string {
  if (controlPlaneIds.includes(text)) return text;
  if (text.startsWith(`${trustDomain.id}/meshca/control-plane/`))
    throw new PkiError(
      'SPIFFE_ID_RESERVED',
      `${text.slice(0, 300)} is no control plane in the configuration of the server`,
      {
        next:
          controlPlaneIds.length === 0
            ? 'Configure the control plane first: controlPlanes of the server.'
            : `Those of the server are ${controlPlaneIds.join(', ')}.`,
      },
    );
  return unwrap(userSpiffeId(text, trustDomain)).toString();
}

function checkPattern(text: string, trustDomain: TrustDomain): void {
  const pattern = unwrap(SpiffeIdPattern.parse(text));
  if (pattern.trustDomainName !== trustDomain.name)
    throw new PkiError(
      'TRUST_DOMAIN_FOREIGN',
      `the pattern ${text} is not in the trust domain ${trustDomain.name}`,
    );
  // a wildcard that could match reserved names is allowed: each ID is checked when it is requested
  if (text.slice(`${trustDomain.id}/`.length).split('/')[0] === 'meshca')
    throw new PkiError(
      'SPIFFE_ID_RESERVED',
      `the pattern ${text} lies below /meshca, which is reserved for the CA`,
    );
}

/**
 * A wildcard may cover a name of the CA. A request for that name is refused.
 *
 * @throws PkiError DNS_NAME_INVALID, DNS_NAME_RESERVED
 */
export function checkDnsPattern(text: string, reserved: readonly ReservedDnsName[]): void {
  if (text.split('.').at(-1) === '*')
    throw new PkiError(
      'DNS_NAME_INVALID',
      `the DNS pattern ${JSON.stringify(text.slice(0, 80))} ends in a wildcard`,
    );
  unwrap(
    parseDnsName(
      text
        .split('.')
        .map((label) => (label === '*' ? 'x' : label))
        .join('.'),
    ),
  );
  const reservation = reservationOf(text, reserved);
  if (reservation !== undefined)
    throw new PkiError('DNS_NAME_RESERVED', reservedText(text, reservation));
}
