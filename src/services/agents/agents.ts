import type { Agent, AgentState, ConsumerRecord, RegistrationEntry } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { AgentDouble } from './agent-doubles.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { BundleRefusal } from '../sync/sync.ts';

export interface AgentView extends Agent {
  readonly connected: boolean;
  /** Another process was seen under its identity, and no operator has decided since. */
  readonly doubled: AgentDouble | undefined;
  /** It refuses the bundle of this server. Undefined: it does not, or is not connected. */
  readonly bundleRefusal: BundleRefusal | undefined;
  /** Why the evidence that let it in is revoked, for example its node certificate; empty: it is not. */
  readonly evidenceRevoked: string;
}

export interface AgentDetail {
  readonly agent: AgentView;
  readonly parentIds: readonly string[];
  /** The first 500 of the blast radius. */
  readonly obtainable: readonly RegistrationEntry[];
  readonly obtainableTotal: number;
  readonly liveCertificates: number;
  readonly lastNotAfter: number;
  readonly consumers: readonly ConsumerRecord[];
}

export interface Agents {
  list(
    caller: OperatorCaller,
    filter: { readonly state?: AgentState },
    page: PageRequest,
  ): Promise<Page<AgentView>>;
  get(caller: OperatorCaller, spiffeId: string, signal?: AbortSignal): Promise<AgentDetail>;
  /** On return the ban is durable and the agent's sessions are closed. */
  ban(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView>;
  evict(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView>;
  /**
   * Of two processes under one identity the named instance goes on: it renews at once, and copies of
   * its certificate count no more. An empty ID means the one that has the session.
   *
   * @throws PkiError NOT_FOUND, INVALID_REQUEST
   */
  keep(
    caller: OperatorCaller,
    spiffeId: string,
    choice: { readonly instanceId: string; readonly reason: string },
  ): Promise<AgentView>;
}
