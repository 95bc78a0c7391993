/** What one client of the Workload API counted against one issuer since `since`. */
export interface HandshakeCount {
  /** The consumer's line that the client belongs to. */
  readonly consumerId: string;
  readonly spiffeId: string;
  readonly issuerKeyId: Buffer;
  readonly succeeded: number;
  readonly failed: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly since: number;
}
