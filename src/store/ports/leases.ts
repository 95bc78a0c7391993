/** Leases by name: who may do what only one may do at a time. */
export interface LeaseStore {
  /**
   * Takes a lease that is free or has run out at `nowMs`, with a new and higher fence; renews it
   * for its holder with the fence it has. `undefined`: another holds it.
   */
  acquire(name: string, holder: string, nowMs: number, lifeMs: number): Promise<Lease | undefined>;
  /** Throws LEASE_LOST when the fence is no longer the present one. */
  renew(lease: Lease, nowMs: number, lifeMs: number): Promise<Lease>;
  /** Frees it; the fence stays, so that the next one is higher. No-op when it is no longer held. */
  release(lease: Lease): Promise<void>;
}

export interface Lease {
  readonly name: string;
  readonly holder: string;
  /**
   * Grows with every change of holder. A write under a lease passes it and is refused (LEASE_LOST)
   * if a higher one exists.
   */
  readonly fence: number;
  readonly expiresAtMs: number;
}
