export interface ConsumerDescription {
  readonly kind: 'workload-stream' | 'proxy' | 'files' | 'agent';
  readonly spiffeId: string;
  /** Names the holder to a person: process, user, path. No secrets. */
  readonly description: string;
  /** Which set its digests are of; default `roots`. */
  readonly takes?: 'roots' | 'jwt';
  /**
   * Names the process while it lives (pid and start time): what it reads later counts for what it
   * left behind.
   */
  readonly holder?: string;
}

/**
 * One report line towards the server per consumer of this agent; see SyncUp.ConsumerReport. Owner:
 * the consumer registry.
 */
export interface ConsumerRegistry {
  register(consumer: ConsumerDescription): ConsumerHandle;
}

export interface ConsumerHandle {
  /** Of the line, as the server knows it; empty if it is not reported. */
  readonly id: string;
  /** Sent, not yet proven as read. */
  pending(setDigest: Buffer): void;
  confirmed(setDigest: Buffer): void;
  refused(setDigest: Buffer, reason: string): void;
  /**
   * It was given a certificate that ends then (Unix seconds, inclusive): until then it may be in
   * use, whatever becomes of the holder.
   */
  given(notAfter: number): void;
  /** `enforces-crl`, `reports-handshakes` and the like. */
  capable(capabilities: readonly string[]): void;
  /** It says that it keeps nothing of what it was given so far. */
  keepsNothing(): void;
  /**
   * It took nothing and was cut off: it stays, by name, until the same process reads again or what
   * it was given has expired.
   */
  stalled(reason: string): void;
  /**
   * It left. What it was given counts as held until it has expired, or the same process has read
   * something newer.
   */
  remove(): void;
}

/** What a process took along that left its stream, or was cut off from it. */
export interface Left {
  readonly spiffeId: string;
  readonly takes: 'roots' | 'jwt';
  readonly state: 'pending' | 'confirmed';
  /** Hex; what it held last, as far as that was proven for `confirmed`. */
  readonly digest: string;
  readonly description: string;
  readonly holder: string;
  /** End of the last certificate that it was given (Unix seconds, inclusive). */
  readonly until: number;
}
