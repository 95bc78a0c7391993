/**
 * What a certificate makes its holder: the caller's class comes from this record, never from a
 * name. An `endpoint` has names and no SPIFFE ID; it and an `authority` are admitted as no caller.
 */
export const certificateKinds = [
  'workload',
  'agent',
  'server',
  'admin',
  'delegated',
  'endpoint',
  'authority',
] as const;
export type CertificateKind = (typeof certificateKinds)[number];

/**
 * - `intent`: durable, not signed as far as is known.
 * - `issued`: signature durable; released or about to be.
 * - `withheld`: signed and recorded, never released (a right ended meanwhile).
 * - `refused`: the signer refused it (bad key or proof); nothing was signed.
 * - `abandoned`: an intent found after a crash or a lost signer; never signed later, possibly live
 *   until notAfter.
 */
export const certificateStates = ['intent', 'issued', 'withheld', 'refused', 'abandoned'] as const;
export type CertificateState = (typeof certificateStates)[number];

export const workloadProfiles = ['short-lived', 'revocable'] as const;
export type WorkloadProfile = (typeof workloadProfiles)[number];
/** Profiles in the inventory: an entry or delegation chooses among `workloadProfiles` alone. */
export type RecordedProfile = WorkloadProfile | 'server' | 'endpoint' | 'authority';

/**
 * Short-lived leaves carry noRevAvail, so they may not live longer (RFC 9608; CA/B Forum draws a
 * similar line).
 */
export const shortLivedMaximumSeconds = 24 * 3600;

export interface CertificateRecord {
  /** Order of creation, the key of the table and of paging. */
  readonly sequence: number;
  /** Lower-case hex, 32 digits. */
  readonly serial: string;
  /** The SPIFFE ID; of an endpoint `subjectText`, which is no SPIFFE ID. */
  readonly spiffeId: string;
  readonly kind: CertificateKind;
  readonly profile: RecordedProfile;
  readonly state: CertificateState;
  /** Code of the refusal or why it was withheld or abandoned. */
  readonly stateReason: string | null;
  readonly entryId: string | null;
  readonly delegationId: string | null;
  /** Who asked: a SPIFFE ID, `uid:N` on the local socket, or `server`. */
  readonly requester: string;
  /** Who holds it: the agent's SPIFFE ID, the client's, or `server`. */
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

/** Durable before the token signs. */
export interface Intent {
  readonly serial: string;
  /** The SPIFFE ID; of an endpoint `subjectText`, which is no SPIFFE ID. */
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
  /** Serial of the certificate at the same holder that this one replaces, or null. */
  readonly replaces: string | null;
  readonly tbsDer: Buffer;
}
