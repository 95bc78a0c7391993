import { fail, ok, PkiError, unwrap, type ErrorCode, type Result } from '../common/errors/index.ts';
import {
  parseDnsName,
  SpiffeIdPattern,
  type SpiffeId,
  type TrustDomain,
} from '../common/spiffe/index.ts';
import { keyTypes, type KeyType } from '../common/x509/key-type.ts';
import { workloadProfiles, shortLivedMaximumSeconds, type WorkloadProfile } from './certificate.ts';
import type { Delegation } from './delegation.ts';
import { userSpiffeId } from './entry-rules.ts';
import type { Proven } from './proven.ts';

export interface DelegationLimits {
  readonly trustDomain: TrustDomain;
  readonly minimumTtlSeconds: number;
  readonly maximumX509TtlSeconds: number;
  /** The names of the CA itself. */
  readonly reservedDnsNames: readonly string[];
}

export type DelegationDraft = Pick<
  Delegation,
  'clientId' | 'patterns' | 'maxTtlSeconds' | 'keyTypes' | 'dnsPatterns' | 'profile' | 'expiresAt'
>;

const maximumPatterns = 100;

/** A delegation as an operator states it. */
export interface DelegationInput {
  readonly clientId: string;
  readonly patterns: readonly string[];
  readonly maxTtlSeconds: number;
  readonly keyTypes: readonly string[];
  readonly dnsPatterns: readonly string[];
  readonly profile: string;
  readonly expiresAt: number;
}

/** A delegation as it may be stored. Throws PkiError with the code of the rule. */
export function checkDelegation(
  input: DelegationInput,
  limits: DelegationLimits,
  now: number,
): DelegationDraft {
  const clientId = unwrap(userSpiffeId(input.clientId, limits.trustDomain)).toString();
  checkPatterns(input, limits);
  const profile = profileOf(input.profile);
  checkMaximumTtl(input.maxTtlSeconds, profile, limits);
  const allowedKeys = keyTypesOf(input.keyTypes);
  if (
    !Number.isSafeInteger(input.expiresAt) ||
    input.expiresAt < 0 ||
    (input.expiresAt !== 0 && input.expiresAt <= now)
  )
    throw new PkiError('INVALID_REQUEST', 'expires_at is neither 0 (never) nor in the future');
  return {
    clientId,
    patterns: [...new Set(input.patterns)].sort(),
    maxTtlSeconds: input.maxTtlSeconds,
    keyTypes: allowedKeys,
    dnsPatterns: [...new Set(input.dnsPatterns)].sort(),
    profile,
    expiresAt: input.expiresAt,
  };
}

function checkPatterns(
  { patterns, dnsPatterns }: DelegationInput,
  { trustDomain, reservedDnsNames }: DelegationLimits,
): void {
  if (patterns.length === 0)
    throw new PkiError('PATTERN_INVALID', 'the delegation has no pattern: it would allow nothing');
  if (patterns.length > maximumPatterns || dnsPatterns.length > maximumPatterns)
    throw new PkiError('INVALID_REQUEST', `a delegation has at most ${maximumPatterns} patterns`);
  for (const text of patterns) checkPattern(text, trustDomain);
  for (const text of dnsPatterns) checkDnsPattern(text, reservedDnsNames);
}

function profileOf(text: string): WorkloadProfile {
  const profile = (text === '' ? 'short-lived' : text) as WorkloadProfile;
  if (workloadProfiles.includes(profile)) return profile;
  throw new PkiError(
    'INVALID_REQUEST',
    `profile ${JSON.stringify(text.slice(0, 40))} is none of ${workloadProfiles.join(', ')}`,
  );
}

function checkMaximumTtl(asked: number, profile: WorkloadProfile, limits: DelegationLimits): void {
  const { minimumTtlSeconds: minimum, maximumX509TtlSeconds } = limits;
  const maximum =
    profile === 'short-lived'
      ? Math.min(shortLivedMaximumSeconds, maximumX509TtlSeconds)
      : maximumX509TtlSeconds;
  if (!Number.isSafeInteger(asked) || asked < minimum || asked > maximum)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the maximum lifetime of ${asked} s is outside ${minimum} to ${maximum} s`,
    );
}

/** All where none is named. */
function keyTypesOf(asked: readonly string[]): readonly KeyType[] {
  const unknown = asked.find((type) => !keyTypes.includes(type as KeyType));
  if (unknown !== undefined)
    throw new PkiError(
      'KEY_UNSUPPORTED',
      `key type ${JSON.stringify(unknown.slice(0, 40))} is none of ${keyTypes.join(', ')}`,
    );
  return asked.length === 0 ? keyTypes : keyTypes.filter((type) => asked.includes(type));
}

/**
 * The text before the first wildcard, and whether there is one: for the rule that nobody delegates
 * more than he has.
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
  /** 0: the most that the delegation allows. */
  readonly ttlSeconds: number;
  readonly keyType: KeyType;
}

/**
 * The first of the active delegations that allows all of the ask; rights of several never add up.
 * Fails with the code of the delegation that came closest: OUTSIDE_DELEGATION (ID or DNS name),
 * KEY_UNSUPPORTED, TTL_OUT_OF_RANGE.
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
  // told as text only to whoever is refused
  const miss = (rank: number, code: ErrorCode, message: () => string): void => {
    if (rank > closest.rank) closest = { rank, code, message };
  };
  for (const delegation of delegations) {
    if (!patternsOf(delegation).some((pattern) => pattern.matches(ask.spiffeId))) continue;
    const name = ask.dnsNames.find(
      (asked) => !delegation.dnsPatterns.some((pattern) => dnsPatternMatches(pattern, asked)),
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
          `the delegation ${delegation.id} allows at most ${delegation.maxTtlSeconds} s, ${ask.ttlSeconds} s were asked for`,
      );
    else
      return ok({
        delegation,
        ttlSeconds: ask.ttlSeconds === 0 ? delegation.maxTtlSeconds : ask.ttlSeconds,
      });
  }
  return fail(closest.code, closest.message());
}

/**
 * By the list of a delegation, which the store reads as one object for as long as its row says the
 * same.
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

/** `*` stands for exactly one label; nothing else is special. */
export function dnsPatternMatches(pattern: string, name: string): boolean {
  const wanted = pattern.split('.');
  const labels = name.split('.');
  return (
    wanted.length === labels.length &&
    wanted.every((label, index) => label === '*' || label === labels[index])
  );
}

function checkPattern(text: string, trustDomain: TrustDomain): void {
  const pattern = unwrap(SpiffeIdPattern.parse(text));
  if (pattern.trustDomainName !== trustDomain.name)
    throw new PkiError(
      'TRUST_DOMAIN_FOREIGN',
      `the pattern ${text} is not in the trust domain ${trustDomain.name}`,
    );
  // a wildcard that could reach reserved names is allowed: the ID itself is checked each time
  if (text.slice(`${trustDomain.id}/`.length).split('/')[0] === 'meshca')
    throw new PkiError(
      'SPIFFE_ID_RESERVED',
      `the pattern ${text} lies below /meshca, which is reserved for the CA`,
    );
}

/** A wildcard may cover a name of the CA, which is refused when it is asked for. */
function checkDnsPattern(text: string, reserved: readonly string[]): void {
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
  if (reserved.some((own) => own.toLowerCase() === text))
    throw new PkiError('DNS_NAME_RESERVED', `${text} is a name of the CA itself`);
}
