import type { PkiError } from '../../common/errors/index.ts';
import type { ReportedTarget, RolloutHold, RolloutPart } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

/** What an operator can have done at a target. */
export type TargetAct = 'stage' | 'promote' | 'rollback';

/** One target of one agent. */
export interface TargetView {
  readonly agentId: string;
  /** Whether the agent has a session in which it reported its targets. */
  readonly connected: boolean;
  readonly target: ReportedTarget;
}

/** A group of which a part has its turn. */
export interface TargetGroupView {
  readonly name: string;
  readonly phase: RolloutPart;
  /** Why others wait. Its instants are Unix seconds. Undefined: nobody waits. */
  readonly hold: RolloutHold | undefined;
}

export interface TargetFilter {
  readonly agentId?: string;
  readonly target?: string;
  readonly group?: string;
}

export type TargetSelection =
  | { readonly agentId: string; readonly target: string }
  | { readonly group: string };

/** What came of an act at one target. */
export interface TargetOutcome {
  readonly agentId: string;
  readonly target: string;
  /** Undefined: done. */
  readonly error: PkiError | undefined;
  /** As reported after it. Undefined: the agent reports it no more. */
  readonly after: TargetView | undefined;
}

/** The file targets of all agents. */
export interface Targets {
  /** By agent and name. The groups are those of the targets on the page. */
  list(
    caller: OperatorCaller,
    filter: TargetFilter,
    page: PageRequest,
  ): Promise<Page<TargetView> & { readonly groups: readonly TargetGroupView[] }>;
  /**
   * Resolves when each agent has answered. Of a selection of one target, its refusal is thrown.
   *
   * @throws PkiError TARGET_UNKNOWN, AGENT_NOT_CONNECTED, ROLE_MISSING, DEADLINE_EXCEEDED, or the
   *   code of the agent
   */
  act(
    caller: OperatorCaller,
    order: {
      readonly act: TargetAct;
      readonly selection: TargetSelection;
      readonly reason: string;
    },
    signal?: AbortSignal,
  ): Promise<readonly TargetOutcome[]>;
  /** Targets by state, of agents with a session. */
  byState(): Readonly<Record<string, number>>;
  /** Turns that failed and hold their group; a bounded number. */
  holding(): readonly TargetHold[];
}

export interface TargetHold {
  readonly group: string;
  readonly agentId: string;
  readonly target: string;
  /** The code of the failure; ROLLED_BACK: the agent gave none. */
  readonly code: string;
}
