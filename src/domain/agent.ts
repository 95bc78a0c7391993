import type { Selector, SpiffeId } from '../common/spiffe/index.ts';

export type AgentState = 'active' | 'banned' | 'evicted';

/** Which IDs node attestation can give to agents. */
export interface AgentNames {
  isAgent(id: SpiffeId): boolean;
}

export interface Agent {
  readonly spiffeId: string;
  /** The type of node attestation that gave the ID; it never changes. */
  readonly attestationType: string;
  /** Selectors of the node itself. */
  readonly selectors: readonly Selector[];
  readonly state: AgentState;
  readonly stateReason: string;
  /**
   * Adds one with each (re-)attestation, ban and evict: sessions and rights of an earlier
   * generation are void.
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

/** `expiresAt` of a revoked join token: a time that no clock goes back to. */
export const revokedTokenExpiry = 0;

export interface JoinToken {
  /** UUIDv7; shown in lists in place of the token. */
  readonly id: string;
  /** SHA-256 of the token, hex. */
  readonly tokenSha256: string;
  readonly agentId: string;
  readonly nodeSelectors: readonly Selector[];
  readonly expiresAt: number;
  /**
   * SHA-256 of the first public key that used it; later uses with this key, inside its life, get
   * the same answer.
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
   * Hex of SHA-256 over the sorted SHA-256 digests of the root certificates that it holds; empty
   * where it can't tell.
   */
  readonly authoritySetDigest: string;
  /** The same over the SubjectPublicKeyInfo of JWT keys. */
  readonly jwtSetDigest: string;
  /**
   * The same over issuing certificates that the agent verified under the roots that this consumer
   * holds.
   */
  readonly issuerSetDigest: string;
  /** `enforces-crl`, `reports-handshakes` and the like. */
  readonly capabilities: readonly string[];
  readonly state: 'pending' | 'confirmed' | 'refused';
  readonly reason: string;
  readonly since: number;
  readonly description: string;
  /**
   * When its agent said so to this process, over its session, Unix seconds; absent: that stands in
   * the database alone, and proves nothing.
   */
  readonly heardAt?: number;
  /**
   * The new session of its agent does not know it: it counts until this instant, when the last leaf
   * of its identity ends. Unix seconds.
   */
  readonly lostUntil?: number;
  /**
   * It has left its agent with a certificate in hand, and counts until that has ended: nobody can
   * tell whether it is still in use. Unix seconds.
   */
  readonly departedUntil?: number;
}
