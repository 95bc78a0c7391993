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

/** The kinds whose subject is names, without a SPIFFE ID. Each is also the name of its profile. */
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
/** Profiles in the inventory. An entry or delegation may choose `workloadProfiles` only. */
export type RecordedProfile = WorkloadProfile | 'server' | NamesKind | 'authority';

/**
 * Short-lived leaves carry noRevAvail, so that they may not live longer (RFC 9608; the CA/B Forum
 * has a similar limit).
 */
export const shortLivedMaximumSeconds = 24 * 3600;

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
  readonly tbsDer: Buffer;
}
