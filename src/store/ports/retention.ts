import type { Lease } from './leases.ts';

/**
 * What leaves the database when it is of no more use. Each call is one transaction under the
 * lease's fence (LEASE_LOST) and removes at most `limit` rows, oldest first; it answers how many.
 * Records of the log never leave: what was removed stands in them by its digest.
 */
export interface RetentionStore {
  /** Certificates of leaves whose notAfter is before that instant. Those of authorities stay. */
  pruneCertificates(expiredBefore: number, limit: number, lease: Lease): Promise<number>;
  pruneJwtSvids(expiredBefore: number, limit: number, lease: Lease): Promise<number>;
  /**
   * Checkpoints from before that instant, but for the last one of each `everyMs` and those that
   * others cosigned with no cosigned one behind them. Looks at `limit` of them from `afterSize` on;
   * `next`: where to go on, undefined at the end.
   */
  pruneCheckpoints(
    before: { readonly timeMs: number; readonly everyMs: number },
    afterSize: number,
    limit: number,
    lease: Lease,
  ): Promise<{ readonly removed: number; readonly next: number | undefined }>;
}
