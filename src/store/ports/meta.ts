import type { Position } from '../../domain/index.ts';

export interface MetaStore {
  /** The trust domain of this database. It is set once. */
  trustDomain(): Promise<string | undefined>;
  /**
   * Called at the first start: writes the trust domain and a new epoch.
   *
   * @throws PkiError TRUST_DOMAIN_CHANGED if the database has another trust domain
   */
  claim(trustDomain: string, now: number): Promise<Position>;
  position(): Promise<Position>;
  /** Called after a restore: the positions that agents hold no longer count. */
  renewEpoch(now: number): Promise<Position>;
}
