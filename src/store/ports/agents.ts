import type { Agent, AgentState, AuditEvent } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface AgentStore {
  /**
   * Records a (re-)attestation or renewal after its SVID was issued: refused with AGENT_BANNED,
   * AGENT_EVICTED or AGENT_SUPERSEDED when that no longer stands. Binds the join token's result in
   * the same transaction, on record as `token.used`: JOIN_TOKEN_INVALID when it is of another agent
   * or key, CONFLICT when it led to another serial already (give that one to the caller).
   */
  record(attestation: AgentAttestation): Promise<Agent>;
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
  /** For `renew`: serial of the SVID that was renewed, which is of that session. */
  readonly renewed?: string;
  readonly tokenId?: string;
  readonly event: AuditEvent;
}
