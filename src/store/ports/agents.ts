import type { Agent, AgentLine, AgentState, AuditEvent } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface AgentStore {
  /**
   * Records an attestation, recovery or renewal after its SVID was issued, and continues the line
   * of the agent's SVIDs. Binds the join token's result in the same transaction, recorded as
   * `token.used`.
   *
   * @throws PkiError AGENT_BANNED, AGENT_EVICTED, AGENT_SUPERSEDED if the session no longer stands;
   *   JOIN_TOKEN_INVALID if the token belongs to another agent or key; CONFLICT if the token
   *   already led to another serial (return that certificate to the caller)
   */
  record(attestation: AgentAttestation): Promise<Agent>;
  /**
   * Records that an SVID is used, and which one is kept. Writes nothing if both are already
   * recorded. Returns the line before and after.
   *
   * @throws the codes of `record`, and NOT_FOUND for an unknown agent
   */
  use(use: SvidUse): Promise<{ readonly before: AgentLine; readonly line: AgentLine }>;
  /**
   * The row. Undefined for an agent that an older release recorded and that has not acted since.
   */
  line(spiffeId: string): Promise<AgentLine | undefined>;
  byId(spiffeId: string, signal?: AbortSignal): Promise<Agent | undefined>;
  list(filter: { readonly state?: AgentState }, page: PageRequest): Promise<Page<Agent>>;
  /**
   * Bans or evicts: increments the generation and moves the revision. OBJECT_NOT_IN_LOG if the row
   * differs from the log, because the new record would otherwise confirm what others wrote. A ban
   * is possible in spite of that: it takes every right away.
   */
  setState(spiffeId: string, state: AgentState, reason: string, event: AuditEvent): Promise<Agent>;
  /** Neither audited nor durable at once: the engine may combine several calls. */
  seen(
    spiffeId: string,
    seen: {
      readonly at: number;
      readonly version?: string;
      readonly survivedOutageSeconds?: number;
    },
  ): void;
}

export interface AgentAttestation {
  readonly agent: Omit<
    Agent,
    'generation' | 'line' | 'state' | 'stateReason' | 'lastSeenAt' | 'survivedOutageSeconds'
  >;
  /** `renew` keeps the generation. `attest` and `recover` start a new session. */
  readonly act: 'attest' | 'recover' | 'renew';
  /** For `renew` and `recover`: the generation that must still be the present one. */
  readonly generation?: number;
  /** For `renew`: serial of the SVID that was renewed. */
  readonly renewed?: string;
  /** For `recover`: serial of the SVID whose key recovered. */
  readonly recovered?: string;
  /**
   * For `recover`: the caller has proved that the record of that SVID was lost with a restored
   * database. It need not be in the line.
   */
  readonly lost?: boolean;
  readonly tokenId?: string;
  readonly event: AuditEvent;
}

/**
 * The use of an SVID: its sync session is to be welcomed, or the agent reports the SVID that it
 * keeps.
 */
export interface SvidUse {
  readonly spiffeId: string;
  /** The session that must still be the present one. */
  readonly generation: number;
  readonly serial: string;
  /** Serial of the SVID on the agent's disk; null: none. */
  readonly kept: string | null;
  readonly timeMs: number;
}
