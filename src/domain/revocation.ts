import type { LoggedObject } from './audit.ts';
import { hasEnded, hasOwnKey, isCross, isTrusted, type Authority } from './authority.ts';

/** RFC 5280 section 5.3.1, those that an administrator may state. */
export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
] as const;
export type RevocationReason = (typeof revocationReasons)[number];

export interface Revocation {
  readonly serial: string;
  readonly authorityId: string;
  readonly reason: RevocationReason;
  readonly revokedAt: number;
  readonly revokedBy: string;
  /** Of the certificate. */
  readonly notAfter: number;
}

/** What a record that commits to a revocation says of it. */
export const loggedRevocation = ({ id, detail }: LoggedObject): Revocation => ({
  serial: id,
  authorityId: detail['authority'] as string,
  reason: detail['reason'] as RevocationReason,
  revokedAt: detail['revokedAt'] as number,
  revokedBy: detail['revokedBy'] as string,
  notAfter: detail['notAfter'] as number,
});

/** A CRL as it was signed, or brought in, last. */
export interface StoredCrl {
  readonly authorityId: string;
  /**
   * Of one from outside it counts what came in; what its issuer says may be longer, see
   * `issuerCrlNumber`.
   */
  readonly number: number;
  /** Unix seconds, both inclusive. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly der: Buffer;
}

/** What stands, or is to stand, in the CRL of one authority. */
export interface CrlContent {
  readonly serial: string;
  readonly revokedAt: number;
  /** undefined: none is stated. */
  readonly reason: Exclude<RevocationReason, 'unspecified'> | 'cACompromise' | undefined;
  readonly notAfter: number;
}

/**
 * Authorities with a CRL of their own: those that are trusted, sign certificates and whose key is
 * ours.
 */
export const publishesCrl = (authority: Authority): boolean =>
  (authority.kind === 'root' || authority.kind === 'issuing') &&
  isTrusted(authority.state) &&
  hasOwnKey(authority) &&
  authority.certificateDer !== null;

/**
 * Authorities whose CRL a consumer may need now: what they signed may be in use. One that is only
 * published has signed nothing; nothing that an ended one signed is valid any more, and it can sign
 * no CRL.
 */
export const needsCrl = (authority: Authority, now: number): boolean =>
  (authority.kind === 'root' || authority.kind === 'issuing') &&
  !hasEnded(authority, now) &&
  (authority.state === 'active' || authority.state === 'old' || authority.state === 'tainted');

/**
 * Whether the CRL of an authority is to be signed anew: there is none, half of its life is over
 * (the rest is for outages), or a certificate that is still valid was revoked since.
 */
export function crlIsDue(input: {
  readonly stored: Pick<StoredCrl, 'nextUpdate'> | undefined;
  /** A certificate is revoked and valid, and not on the present one. */
  readonly unlisted: boolean;
  readonly lifeSeconds: number;
  /** Of the authority: no CRL outlives it. */
  readonly notAfter: number;
  readonly now: number;
}): boolean {
  const { stored, unlisted, lifeSeconds, notAfter, now } = input;
  if (stored === undefined || unlisted) return true;
  return stored.nextUpdate < notAfter && now >= stored.nextUpdate - lifeSeconds / 2;
}

/**
 * Authorities whose CRL comes from outside, since their key is: a root of others, and what is
 * between it and ours. One that is only prepared may have its CRL brought ahead. Not a
 * cross-certificate: it is the name and key of a root that has its own.
 */
export const takesCrl = (authority: Authority, all: readonly Authority[]): boolean =>
  (authority.kind === 'root' || authority.kind === 'issuing') &&
  !hasOwnKey(authority) &&
  authority.certificateDer !== null &&
  (authority.state === 'prepared' || isTrusted(authority.state)) &&
  !isCross(authority, all);

export const crlStates = ['missing', 'current', 'expiring', 'expired'] as const;
export type CrlState = (typeof crlStates)[number];

/**
 * How the CRL of one authority stands: what an operator has to know before consumers that check
 * CRLs do.
 */
export interface CrlStanding {
  readonly authorityId: string;
  /** `external`: it has to be brought in. */
  readonly source: 'own' | 'external';
  readonly state: CrlState;
  /** 0 where it is missing. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** As its issuer numbered it; empty where it is missing. */
  readonly number: string;
  /** Authorities below it that were revoked here and are not on it. */
  readonly unlisted: readonly string[];
}

/**
 * `expiring`: the last third of its life has begun, by which a new one should have come. One that
 * ends with its authority is followed by none.
 */
export function crlState(
  crl: Pick<StoredCrl, 'thisUpdate' | 'nextUpdate'> | undefined,
  authorityNotAfter: number,
  now: number,
): CrlState {
  if (crl === undefined) return 'missing';
  if (crl.nextUpdate <= now) return 'expired';
  return crl.nextUpdate < authorityNotAfter &&
    now >= crl.nextUpdate - (crl.nextUpdate - crl.thisUpdate) / 3
    ? 'expiring'
    : 'current';
}
