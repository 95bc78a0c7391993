import type { Position } from '../../domain/index.ts';

export interface MetaStore {
  /** The trust domain this database belongs to; set once. */
  trustDomain(): Promise<string | undefined>;
  /**
   * First start: writes trust domain and a new epoch. Throws TRUST_DOMAIN_CHANGED when another one
   * stands there.
   */
  claim(trustDomain: string, now: number): Promise<Position>;
  position(): Promise<Position>;
  /** After a restore: what agents know of the past no longer counts. */
  renewEpoch(now: number): Promise<Position>;
}
