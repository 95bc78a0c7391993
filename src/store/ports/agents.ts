import type { Agent, AgentLine, AgentState, AuditEvent } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface AgentStore {
  /**
   * Records a (re-)attestation or renewal after its SVID was issued, and goes on with the line of
   * the agent's SVIDs: refused with AGENT_BANNED,
   * AGENT_EVICTED or AGENT_SUPERSEDED when that no longer stands. Binds the join token's result in
   * the same transaction, on record as `token.used`: JOIN_TOKEN_INVALID when it is of another agent
   * or key, CONFLICT when it led to another serial already (give that one to the caller).
   */
  record(attestation: AgentAttestation): Promise<Agent>;
  /**
   * Records that an SVID is used, and which one is kept; nothing where both are on record. Answers
   * with the line before and after. Refused as `record`, with NOT_FOUND for an unknown agent.
   */
  use(use: SvidUse): Promise<{ readonly before: AgentLine; readonly line: AgentLine }>;
  /** The row; undefined for an agent that an older release recorded, and since then did nothing. */
  line(spiffeId: string): Promise<AgentLine | undefined>;
  byId(spiffeId: string): Promise<Agent | undefined>;
  list(filter: { readonly state?: AgentState }, page: PageRequest): Promise<Page<Agent>>;
  /**
   * Ban or evict: adds one to the generation and moves the revision. OBJECT_NOT_IN_LOG where the
   * row is not as the log has it, so that the new record makes good nothing that others wrote. A
   * ban is possible all the same: it takes everything away.
   */
  setState(spiffeId: string, state: AgentState, reason: string, event: AuditEvent): Promise<Agent>;
  /** Not audited, not durable at once: may be coalesced by the engine. */
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
  /** `renew` keeps the generation; the two others start a new session. */
  readonly act: 'attest' | 'recover' | 'renew';
  /** For `renew` and `recover`: the generation that must still stand. */
  readonly generation?: number;
  /** For `renew`: serial of the SVID that was renewed. */
  readonly renewed?: string;
  /** For `recover`: serial of the SVID whose key recovered. */
  readonly recovered?: string;
  readonly tokenId?: string;
  readonly event: AuditEvent;
}

/** The sync session of an agent's SVID is to be welcomed, or the agent reports what it keeps. */
export interface SvidUse {
  readonly spiffeId: string;
  /** The session that must still stand. */
  readonly generation: number;
  readonly serial: string;
  /** Serial of the SVID on the agent's disk; null: none. */
  readonly kept: string | null;
  readonly timeMs: number;
}
