import type { Result } from '../common/errors/index.ts';
import type { KeyType } from '../common/x509/index.ts';
import type { LintContext, Profile } from '../certs/index.ts';
import {
  finishingStates,
  type Authority,
  type AuthorityState,
  type Intent,
  type Rights,
} from '../domain/index.ts';
import type { ProofOfPossession } from '../hsm/signing-port.ts';
import type { IssuedAs } from './certificate-events.ts';
import type { Admission } from './policy.ts';

/** A certificate that the policy allowed, before it is checked and recorded. */
export interface CertificateDraft {
  readonly tbsDer: Buffer;
  readonly profile: Profile;
  /** What the TBSCertificate must say. `prepare` parses the bytes and compares. */
  readonly expected: LintContext & { readonly serial: Buffer };
  /** The decision of the policy. Its version becomes a right. */
  readonly admission: Admission;
  /** The authority whose key signs. */
  readonly signer: {
    readonly authorityId: string;
    readonly ckaId: string;
    readonly keyType: KeyType;
    /** The transaction that releases requires the authority to be in one of these states. */
    readonly states: readonly AuthorityState[];
  };
  /** Proof of possession, checked by the signer first. Absent if it was checked before. */
  readonly proof?: ProofOfPossession;
  readonly record: Pick<
    Intent,
    | 'kind'
    | 'profile'
    | 'entryId'
    | 'delegationId'
    | 'requester'
    | 'holder'
    | 'publicKeySha256'
    | 'requestId'
    | 'replaces'
  >;
  /** Checked again by the transaction that releases, with the rights of authority and policy. */
  readonly rights: Rights;
  readonly issuedAs: IssuedAs;
  /** The shard of CRLs that the leaf names; 0: none. */
  readonly shard: number;
  /**
   * A check of the assembled certificate. The signer verifies the signature in any case. Absent on
   * the hot path, where the main process does no public-key work.
   */
  readonly verify?: (certificateDer: Buffer) => Result<unknown>;
}

/**
 * The signer of a draft: an authority that is active, or that became old since the request began.
 */
export const signerOf = ({
  id,
  ckaId,
  keyType,
}: Pick<Authority, 'id' | 'ckaId' | 'keyType'>): CertificateDraft['signer'] => ({
  authorityId: id,
  ckaId,
  keyType,
  states: finishingStates,
});
