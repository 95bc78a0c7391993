import { checkQuota } from '../quota-rules.ts';
import { PkiError } from '../../common/errors/index.ts';
import { isOneLine } from '../../common/runtime/index.ts';
import { maximumLifeOf, namesProfiles, type NamesProfile } from '../certificate.ts';
import { checkDnsPattern, keyTypesOf } from '../delegation-rules.ts';
import { checkIpRange } from '../names.ts';
import type { ReservedDnsName } from '../reserved-names.ts';
import type { Tenant } from '../tenant.ts';
import type { EabKey } from './account.ts';
import { challengeTypes, type ChallengeType } from '../../common/validation/challenge.ts';

export interface EabKeyLimits {
  readonly minimumTtlSeconds: number;
  readonly reservedDnsNames: readonly ReservedDnsName[];
  /** Of a key that names no profile. */
  readonly defaultProfile: NamesProfile;
}

/** An EAB key as an operator states it. */
export interface EabKeyInput {
  readonly tenant: string;
  readonly description: string;
  readonly dnsPatterns: readonly string[];
  readonly ipRanges: readonly string[];
  readonly wildcards: boolean;
  /** Empty: the default profile. */
  readonly profiles: readonly string[];
  readonly ttlSeconds: number;
  /** Empty: all. */
  readonly keyTypes: readonly string[];
  /** Empty: `challenge`. */
  readonly proof: string;
  readonly challengeTypes: readonly string[];
  /** Empty: `many`. */
  readonly accounts: string;
  readonly quotaCertificates: number;
  readonly quotaSeconds: number;
  readonly expiresAt: number;
}

/** What of an EAB key its maker decides. */
export type EabKeyDraft = Omit<
  EabKey,
  'id' | 'accountId' | 'revokedAt' | 'version' | 'createdAt' | 'createdBy' | 'source'
>;

const maximumPatterns = 100;
const maximumDescription = 200;

/**
 * The EAB key in the form that may be stored. Its names are those of its tenant: patterns end in a
 * suffix of the tenant, letter by letter. No suffix owns an address: who may give ranges is decided
 * elsewhere.
 *
 * @throws PkiError with the code of the broken rule
 */
export function checkEabKey(
  input: EabKeyInput,
  tenant: Pick<Tenant, 'name' | 'dnsSuffixes' | 'state'>,
  limits: EabKeyLimits,
  now: number,
): EabKeyDraft {
  if (tenant.state !== 'active')
    throw new PkiError('TENANT_ENDED', `the tenant ${tenant.name} has ended`);
  const dnsPatterns = checkPatterns(input, tenant, limits);
  const ipRanges = sorted(input.ipRanges.map(checkIpRange));
  if (dnsPatterns.length + ipRanges.length === 0)
    throw new PkiError('PATTERN_INVALID', 'the EAB key has no pattern: it would allow nothing', {
      next: 'Give a DNS pattern inside the suffixes of its tenant, or an IP range.',
    });
  if (Math.max(dnsPatterns.length, ipRanges.length) > maximumPatterns)
    throw new PkiError('INVALID_REQUEST', `an EAB key has at most ${maximumPatterns} patterns`);
  const profiles = profilesOf(input.profiles, limits);
  checkTtl(input.ttlSeconds, profiles, limits);
  checkQuota(input);
  checkExpiry(input.expiresAt, now);
  return {
    tenant: tenant.name,
    description: checkDescription(input.description),
    dnsPatterns,
    ipRanges,
    wildcards: input.wildcards,
    profiles,
    ttlSeconds: input.ttlSeconds,
    keyTypes: keyTypesOf(input.keyTypes),
    proof: choice('proof', input.proof, ['challenge', 'owner']),
    challengeTypes: challengeTypesOf(input),
    accounts: choice('accounts', input.accounts, ['many', 'single']),
    quotaCertificates: input.quotaCertificates,
    quotaSeconds: input.quotaSeconds,
    expiresAt: input.expiresAt,
  };
}

/** Whether the tenant owns every name that each pattern (in lower case) allows. */
export const hasAllPatterns = (
  { dnsSuffixes }: Pick<Tenant, 'dnsSuffixes'>,
  patterns: readonly string[],
): boolean =>
  patterns.every((pattern) =>
    dnsSuffixes.some((suffix) => pattern === suffix || pattern.endsWith(`.${suffix}`)),
  );

/** Why nothing more is issued by a key. Undefined: it stands. */
export function eabKeyEnd(
  { revokedAt, expiresAt }: Pick<EabKey, 'revokedAt' | 'expiresAt'>,
  now: number,
): 'revoked' | 'expired' | undefined {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== 0 && expiresAt <= now ? 'expired' : undefined;
}

function checkPatterns(
  { dnsPatterns, wildcards }: EabKeyInput,
  { name, dnsSuffixes }: Pick<Tenant, 'name' | 'dnsSuffixes'>,
  { reservedDnsNames }: EabKeyLimits,
): readonly string[] {
  const patterns = dnsPatterns.map((text) => text.toLowerCase());
  for (const pattern of patterns) {
    checkDnsPattern(pattern, reservedDnsNames);
    if (!hasAllPatterns({ dnsSuffixes }, [pattern]))
      throw new PkiError(
        'PATTERN_INVALID',
        `the DNS pattern ${pattern} is not inside the names of the tenant ${name}`,
        {
          next:
            dnsSuffixes.length === 0
              ? `The tenant ${name} owns no DNS names: let an operator give it a suffix.`
              : `Give patterns that end in ${dnsSuffixes.slice(0, 10).join(' or ')}; "*" may stand before it.`,
        },
      );
  }
  if (wildcards && !patterns.some((pattern) => pattern.startsWith('*.')))
    throw new PkiError(
      'PATTERN_INVALID',
      'the EAB key allows wildcard names, and no pattern begins with "*."',
      { next: 'Leave wildcards out, or give a pattern such as *.shop.example.org.' },
    );
  return sorted(patterns);
}

/** In the order of the input: the first is the default. */
function profilesOf(
  texts: readonly string[],
  { defaultProfile }: EabKeyLimits,
): readonly NamesProfile[] {
  const unknown = texts.find((text) => !namesProfiles.includes(text as NamesProfile));
  if (unknown !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `profile ${JSON.stringify(unknown.slice(0, 40))} is not one of ${namesProfiles.join(', ')}`,
    );
  return texts.length === 0 ? [defaultProfile] : [...new Set(texts as readonly NamesProfile[])];
}

/** A life that each of the profiles can have. */
function checkTtl(
  seconds: number,
  profiles: readonly NamesProfile[],
  { minimumTtlSeconds: minimum }: EabKeyLimits,
): void {
  if (seconds === 0) return;
  const maximum = Math.min(...profiles.map((profile) => maximumLifeOf(profile) ?? 0));
  if (!Number.isSafeInteger(seconds) || seconds < minimum || seconds > maximum)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the lifetime of ${seconds} s is outside ${minimum} to ${maximum} s for ${profiles.join(', ')}`,
    );
}

function checkExpiry(expiresAt: number, now: number): void {
  if (!Number.isSafeInteger(expiresAt) || (expiresAt !== 0 && expiresAt <= now))
    throw new PkiError('INVALID_REQUEST', 'expires_at must be 0 (never) or in the future');
}

function checkDescription(text: string): string {
  if (text.length > maximumDescription || !isOneLine(text))
    throw new PkiError(
      'INVALID_REQUEST',
      `the description has control characters or more than ${maximumDescription} characters`,
    );
  return text;
}

/** A key of an owner shows nothing, so that it needs no challenge. */
function challengeTypesOf({ challengeTypes: texts, proof }: EabKeyInput): readonly ChallengeType[] {
  const unknown = texts.find((text) => !challengeTypes.includes(text as ChallengeType));
  if (unknown !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `challenge ${JSON.stringify(unknown.slice(0, 40))} is not one of ${challengeTypes.join(', ')}`,
    );
  if (proof === 'owner' && texts.length > 0)
    throw new PkiError(
      'INVALID_REQUEST',
      'accounts of a key with the proof "owner" are offered no challenges',
    );
  return challengeTypes.filter((type) => texts.includes(type));
}

function choice<T extends string>(name: string, text: string, allowed: readonly [T, ...T[]]): T {
  const chosen = text === '' ? allowed[0] : allowed.find((each) => each === text);
  if (chosen !== undefined) return chosen;
  throw new PkiError(
    'INVALID_REQUEST',
    `${name} ${JSON.stringify(text.slice(0, 40))} is unknown; allowed: ${allowed.join(', ')}`,
  );
}

const sorted = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();
