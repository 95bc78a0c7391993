/** Leases by name, for acts that only one process may do at a time. */
export interface LeaseStore {
  /**
   * Takes a lease that is free or expired at `nowMs`, with a new and higher fence. Renews it for
   * its present holder, with the same fence. Undefined: another process holds it.
   */
  acquire(name: string, holder: string, nowMs: number, lifeMs: number): Promise<Lease | undefined>;
  /** @throws PkiError LEASE_LOST if the fence is no longer the present one */
  renew(lease: Lease, nowMs: number, lifeMs: number): Promise<Lease>;
  /**
   * Frees the lease. The fence is kept, so that the next one is higher. Does nothing if the lease
   * is no longer held.
   */
  release(lease: Lease): Promise<void>;
}

/** What a write rests on beside its own arguments. */
export interface WriteContext {
  /** The write requires that this lease's fence is the present one (else LEASE_LOST). */
  readonly lease?: Lease | undefined;
  /** Aborted when no caller waits for the write any more. */
  readonly signal?: AbortSignal | undefined;
}

export interface Lease {
  readonly name: string;
  readonly holder: string;
  /**
   * Grows with every change of holder. A write under a lease passes it, and is refused (LEASE_LOST)
   * if a higher one exists.
   */
  readonly fence: number;
  readonly expiresAtMs: number;
}
