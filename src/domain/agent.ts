import type { Selector, SpiffeId } from '../common/spiffe/index.ts';

export type AgentState = 'active' | 'banned' | 'evicted';

/** Tells which IDs node attestation can assign to agents. */
export interface AgentNames {
  isAgent(id: SpiffeId): boolean;
}

export interface Agent {
  readonly spiffeId: string;
  /** The type of node attestation that assigned the ID. It never changes. */
  readonly attestationType: string;
  /** Selectors of the node itself. */
  readonly selectors: readonly Selector[];
  readonly state: AgentState;
  readonly stateReason: string;
  /**
   * Grows with each attestation, ban and eviction. Sessions and rights of an earlier generation are
   * void.
   */
  readonly generation: number;
  /** Its newest SVID. */
  readonly serial: string;
  /** SubjectPublicKeyInfo of its newest SVID. */
  readonly spkiDer: Buffer;
  readonly attestedAt: number;
  readonly renewedAt: number;
  readonly svidNotAfter: number;
  readonly lastSeenAt: number;
  readonly version: string;
  readonly survivedOutageSeconds: number;
}

/** `expiresAt` of a revoked join token: a time to which no clock returns. */
export const revokedTokenExpiry = 0;

export interface JoinToken {
  /** UUIDv7. Lists show it instead of the token. */
  readonly id: string;
  /** SHA-256 of the token, hex. */
  readonly tokenSha256: string;
  readonly agentId: string;
  readonly nodeSelectors: readonly Selector[];
  readonly expiresAt: number;
  /**
   * SHA-256 of the first public key that used it. Later uses with this key get the same answer,
   * during the life of the token.
   */
  readonly boundPublicKeySha256: string | null;
  readonly usedAt: number | null;
  /** Serial of the SVID that the first use led to. */
  readonly resultSerial: string | null;
  readonly createdBy: string;
  readonly createdAt: number;
}

/** What one sync consumer of an agent holds; see SyncUp.ConsumerReport. */
export interface ConsumerRecord {
  readonly agentId: string;
  readonly id: string;
  readonly kind: string;
  readonly spiffeId: string;
  /**
   * Hex of SHA-256 over the sorted SHA-256 digests of the root certificates that it holds. Empty if
   * it can not tell.
   */
  readonly authoritySetDigest: string;
  /** The same over the SubjectPublicKeyInfo of JWT keys. */
  readonly jwtSetDigest: string;
  /**
   * The same over the issuing certificates that the agent verified below the roots of this
   * consumer.
   */
  readonly issuerSetDigest: string;
  /** For example `enforces-crl` and `reports-handshakes`. */
  readonly capabilities: readonly string[];
  readonly state: 'pending' | 'confirmed' | 'refused';
  readonly reason: string;
  readonly since: number;
  readonly description: string;
  /**
   * When its agent reported this to this process over its session, Unix seconds. Absent: only the
   * database says so, which proves nothing.
   */
  readonly heardAt?: number;
  /**
   * The new session of its agent does not report it. It counts until this instant, when the last
   * leaf of its identity ends. Unix seconds.
   */
  readonly lostUntil?: number;
  /**
   * It has departed from its agent with a certificate, and counts until that certificate ends:
   * nobody can tell whether it is still used. Unix seconds.
   */
  readonly departedUntil?: number;
}
