export interface ConsumerDescription {
  readonly kind: 'workload-stream' | 'proxy' | 'files' | 'agent';
  readonly spiffeId: string;
  /** Describes the holder for people: process, user, path. No secrets. */
  readonly description: string;
  /** The set that its digests cover. Default `roots`. */
  readonly takes?: 'roots' | 'jwt';
  /**
   * Identifies the process while it lives (pid and start time), so that what it reads later settles
   * what it left behind.
   */
  readonly holder?: string;
  /**
   * That it took its last set is inferred from what it asked for, and not proven. Default: false.
   */
  readonly inferred?: boolean;
}

/**
 * One line of the report to the server per consumer of this agent; see SyncUp.ConsumerReport.
 * Owner: the consumer registry.
 */
export interface ConsumerRegistry {
  register(consumer: ConsumerDescription): ConsumerHandle;
}

export interface ConsumerHandle {
  /** The ID of the line at the server. Empty if it is not reported. */
  readonly id: string;
  /** Reports a set that was sent and is not yet proven as read. */
  pending(setDigest: Buffer): void;
  /** Reports that nobody can tell whether the holder has this set, and why. */
  unprovable(setDigest: Buffer, reason: string): void;
  confirmed(setDigest: Buffer): void;
  refused(setDigest: Buffer, reason: string): void;
  /**
   * Reports a certificate that was handed out and is valid until `notAfter` (Unix seconds,
   * inclusive). It may be in use until then, whatever happens to the holder.
   */
  given(notAfter: number): void;
  /** `enforces-crl`, `reports-handshakes` and the like. */
  capable(capabilities: readonly string[]): void;
  /** Reports that the holder keeps nothing of what it received so far. */
  keepsNothing(): void;
  /**
   * Reports that the holder read nothing and was cut off. It stays by name until the same process
   * reads again, or until its certificates have expired.
   */
  stalled(reason: string): void;
  /**
   * Reports that the holder left. Its certificates count until they have expired, or until the same
   * process has read a newer one.
   */
  remove(): void;
}

/** What a process had when it left its stream, or was cut off. */
export interface Left {
  readonly spiffeId: string;
  readonly takes: 'roots' | 'jwt';
  readonly state: 'pending' | 'confirmed';
  /** The digest of its last set, hex. For `confirmed` that set is proven, or inferred. */
  readonly digest: string;
  readonly description: string;
  readonly holder: string;
  /** The expiry of the last certificate that it received (Unix seconds, inclusive). */
  readonly until: number;
  /** See ConsumerDescription. Default: false. */
  readonly inferred?: boolean;
}
