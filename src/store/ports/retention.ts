import type { Lease } from './leases.ts';

/**
 * Removal of rows that are no longer needed. Each call is one transaction under the lease's fence
 * (else LEASE_LOST). It removes at most `limit` rows, oldest first, and returns their number.
 * Records of the log are never removed, and still hold the digests of removed rows.
 */
export interface RetentionStore {
  /**
   * Removes certificates of leaves whose notAfter is before that instant. Certificates of
   * authorities stay.
   */
  pruneCertificates(expiredBefore: number, limit: number, lease: Lease): Promise<number>;
  pruneJwtSvids(expiredBefore: number, limit: number, lease: Lease): Promise<number>;
  /**
   * Removes checkpoints from before that instant. It keeps the last one of each `everyMs`, and
   * cosigned ones without a later cosigned one. Reads `limit` of them, starting after `afterSize`.
   * `next`: where to continue; undefined at the end.
   */
  pruneCheckpoints(
    before: { readonly timeMs: number; readonly everyMs: number },
    afterSize: number,
    limit: number,
    lease: Lease,
  ): Promise<{ readonly removed: number; readonly next: number | undefined }>;
}
