import type { CertificateRecord, Revocation } from '../../domain/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface RevocationRequest {
  readonly serial: string;
  /** One of `revocationReasons`; empty: unspecified. */
  readonly reason: string;
  /** Undefined: where the reason is keyCompromise. */
  readonly blockKeys?: boolean | undefined;
}

export interface RevokedCertificate {
  readonly certificate: CertificateRecord;
  readonly revocation: Revocation;
  /** What relying parties do not learn, and how further certificates are refused; may be empty. */
  readonly note: string;
}

export interface Revocations {
  /**
   * Revokes a certificate. A repeated revocation is no error.
   *
   * @throws PkiError NOT_FOUND, REVOCATION_NOT_POSSIBLE (with an alternative and the certificate's
   *   end), CERTIFICATE_EXPIRED
   */
  revoke(caller: OperatorCaller, request: RevocationRequest): Promise<RevokedCertificate>;
  of(serial: string): Promise<Revocation | undefined>;
}
