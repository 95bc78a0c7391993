import type { NamesSubject } from './subject.ts';

/**
 * What a certificate makes of its holder. The caller's class comes from this record, never from a
 * name. An `endpoint` and a `linkerd` proxy have names and no SPIFFE ID. Holders of an `endpoint`,
 * `linkerd` or `authority` certificate are not admitted as callers. The holder of a `token`
 * certificate, which a token of another issuer led to, may only give it back: it is no credential
 * for the next one.
 */
export const certificateKinds = [
  'workload',
  'agent',
  'server',
  'admin',
  'delegated',
  'token',
  'endpoint',
  'linkerd',
  'authority',
] as const;
export type CertificateKind = (typeof certificateKinds)[number];

/** The kinds whose subject is names, without a SPIFFE ID. */
const namesKinds = ['endpoint', 'linkerd'] as const;
export type NamesKind = (typeof namesKinds)[number];
export const isNamesKind = (kind: string): kind is NamesKind =>
  (namesKinds as readonly string[]).includes(kind);

/**
 * - `intent`: durable; not signed, as far as is known.
 * - `issued`: the signature is durable; released, or about to be.
 * - `withheld`: signed and recorded, never released (a right ended meanwhile).
 * - `refused`: the signer refused it (invalid key or proof); nothing was signed.
 * - `abandoned`: an intent left by a crash or a lost signer. Never signed later; possibly live
 *   until notAfter.
 */
export const certificateStates = ['intent', 'issued', 'withheld', 'refused', 'abandoned'] as const;
export type CertificateState = (typeof certificateStates)[number];

export const workloadProfiles = ['short-lived', 'revocable'] as const;
export type WorkloadProfile = (typeof workloadProfiles)[number];

/**
 * The profiles of an `endpoint`: serverAuth alone, from an authority for names.
 * - `short`: 6 days, noRevAvail.
 * - `classic`: 30 days, at most 90, with revocation information and a common name.
 * - `hours`: up to a day, noRevAvail. Only a delegation chooses it: its holder renews too often for
 *   renewal information (RFC 9773) to reach it.
 */
export const namesProfiles = ['short', 'classic', 'hours'] as const;
export type NamesProfile = (typeof namesProfiles)[number];
export const isNamesProfile = (profile: string): profile is NamesProfile =>
  (namesProfiles as readonly string[]).includes(profile);

/** What an entry may choose. */
export const entryProfiles = [...workloadProfiles, 'short', 'classic'] as const;
export type EntryProfile = (typeof entryProfiles)[number];
/** What a delegation may choose. */
export const delegationProfiles = [...workloadProfiles, ...namesProfiles] as const;
export type DelegationProfile = (typeof delegationProfiles)[number];

/** Profiles in the inventory. */
export const recordedProfiles = [
  ...delegationProfiles,
  'server',
  'linkerd',
  'authority',
  'ocsp-signer',
] as const;
export type RecordedProfile = (typeof recordedProfiles)[number];

/** Whether a certificate of this kind may have this profile, as far as names are concerned. */
export const namesProfileFits = (kind: string, profile: string): boolean =>
  (kind === 'endpoint') === isNamesProfile(profile) &&
  (kind === 'linkerd') === (profile === 'linkerd');

/**
 * Short-lived leaves carry noRevAvail, so that they may not live longer (RFC 9608; the CA/B Forum
 * has a similar limit).
 */
export const shortLivedMaximumSeconds = 24 * 3600;

/** The lives of names profiles in seconds. `usual`: where nobody asks for another. */
export const namesLives: Readonly<
  Record<NamesProfile, { readonly usual: number; readonly maximum: number }>
> = {
  short: { usual: 6 * 86_400, maximum: 6 * 86_400 },
  classic: { usual: 30 * 86_400, maximum: 90 * 86_400 },
  hours: { usual: 12 * 3600, maximum: 24 * 3600 },
};
/** The longest life of a leaf in seconds. Undefined: as long as its issuer. */
export function maximumLifeOf(profile: RecordedProfile): number | undefined {
  if (profile === 'revocable' || profile === 'authority' || profile === 'ocsp-signer')
    return undefined;
  return isNamesProfile(profile) ? namesLives[profile].maximum : shortLivedMaximumSeconds;
}

/** Whether a leaf of this profile names a place of revocation information. */
export const isRevocable = (profile: string): boolean =>
  profile === 'revocable' || profile === 'classic';

/** How many names a certificate of an endpoint may have. */
export const maximumNames = 100;

export interface CertificateRecord {
  /** The order of creation: the key of the table and of paging. */
  readonly sequence: number;
  /** Lower-case hex, 32 digits. */
  readonly serial: string;
  /** The SPIFFE ID; for a kind with names the `subjectText`, which is not a SPIFFE ID. */
  readonly spiffeId: string;
  readonly kind: CertificateKind;
  readonly profile: RecordedProfile;
  readonly state: CertificateState;
  /** The code of a refusal, or why it was withheld or abandoned. */
  readonly stateReason: string | null;
  readonly entryId: string | null;
  readonly delegationId: string | null;
  /** The requester: a SPIFFE ID, `uid:N` on the local socket, or `server`. */
  readonly requester: string;
  /** The holder: the agent's SPIFFE ID, the client's, or `server`. */
  readonly holder: string;
  readonly publicKeySha256: string;
  readonly requestId: string;
  readonly authorityId: string;
  readonly createdAtMs: number;
  readonly notBefore: number;
  readonly notAfter: number;
  /** SHA-256 of the certificate, hex; null until issued. */
  readonly sha256: string | null;
  /** The shard of CRLs that the certificate names; 0: none. */
  readonly shard: number;
  /** The tenant for which it was issued; null: nobody's. Its names may have moved since. */
  readonly tenant: string | null;
  readonly replacedBy: string | null;
  readonly replacementConfirmedAt: number | null;
  /** The certificate in DER; null until issued. */
  readonly certificateDer: Buffer | null;
}

/** The record of a certificate that is durable before the token signs. */
export interface Intent {
  readonly serial: string;
  /** The SPIFFE ID; for a kind with names the `subjectText`, which is not a SPIFFE ID. */
  readonly spiffeId: string;
  readonly kind: CertificateKind;
  readonly profile: RecordedProfile;
  readonly entryId: string | null;
  readonly delegationId: string | null;
  readonly requester: string;
  readonly holder: string;
  readonly publicKeySha256: string;
  readonly requestId: string;
  readonly authorityId: string;
  readonly createdAtMs: number;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Serial of the certificate of the same holder that this one replaces, or null. */
  readonly replaces: string | null;
  /** The shard of CRLs that the certificate names; 0: none. */
  readonly shard: number;
  /** The tenant for which it is issued; null: nobody's. */
  readonly tenant: string | null;
  readonly tbsDer: Buffer;
  /** Beside the SPIFFE ID, by which the certificate is found. */
  readonly names: Pick<NamesSubject, 'dnsNames' | 'ips'>;
}
