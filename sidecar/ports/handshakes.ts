/** The handshakes of one client of the Workload API with peers below one issuer, since `since`. */
export interface HandshakeCount {
  /** The line of the consumer to which the client belongs. */
  readonly consumerId: string;
  readonly spiffeId: string;
  readonly issuerKeyId: Buffer;
  readonly succeeded: number;
  readonly failed: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly since: number;
}
