import type { CertificateRecord, Revocation } from '../../domain/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Revocations {
  /**
   * Revokes a certificate. A repeated revocation is no error.
   *
   * @throws PkiError NOT_FOUND, REVOCATION_NOT_POSSIBLE (with an alternative and the certificate's
   *   end), CERTIFICATE_EXPIRED
   */
  revoke(
    caller: OperatorCaller,
    serial: string,
    reason: string,
  ): Promise<{ readonly certificate: CertificateRecord; readonly revocation: Revocation }>;
  of(serial: string): Promise<Revocation | undefined>;
}
