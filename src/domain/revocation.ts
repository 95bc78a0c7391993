import { hasOwnKey, isTrusted, type Authority } from './authority.ts';

/** RFC 5280 section 5.3.1, those that an administrator may state. */
export const revocationReasons = ['unspecified', 'keyCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'privilegeWithdrawn'] as const;
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

/** A CRL as it was signed last. */
export interface StoredCrl {
  readonly authorityId: string;
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

/** Authorities with a CRL of their own: those that are trusted, sign certificates and whose key is ours. */
export const publishesCrl = (authority: Authority): boolean =>
  (authority.kind === 'root' || authority.kind === 'issuing') && isTrusted(authority.state) && hasOwnKey(authority) && authority.certificateDer !== null;

/** Authorities whose CRL a consumer may need now: what they signed may be in use. One that is only published has signed nothing. */
export const needsCrl = (authority: Authority): boolean =>
  (authority.kind === 'root' || authority.kind === 'issuing') && (authority.state === 'active' || authority.state === 'old' || authority.state === 'tainted');

/**
 * Whether the CRL of an authority is to be signed anew: there is none, half of its life is over (the rest is for outages), or
 * a certificate that is still valid was revoked since. `listed` are the serials in the present one.
 */
export function crlIsDue(input: {
  readonly stored: Pick<StoredCrl, 'nextUpdate'> | undefined;
  readonly listed: ReadonlySet<string>;
  readonly content: readonly CrlContent[];
  readonly lifeSeconds: number;
  /** Of the authority: no CRL outlives it. */
  readonly notAfter: number;
  readonly now: number;
}): boolean {
  const { stored, listed, content, lifeSeconds, notAfter, now } = input;
  if (stored === undefined) return true;
  if (content.some((entry) => !listed.has(entry.serial))) return true;
  return stored.nextUpdate < notAfter && now >= stored.nextUpdate - lifeSeconds / 2;
}
