import type { TargetAnswer, TargetReport } from './target-report.ts';
import type { TargetCommand, TargetCommands } from './target-commands.ts';
import type { TargetStates } from './target-states.ts';

/** The part of one sync session that is about file targets. */
export interface TargetSession {
  /** @throws PkiError INVALID_REQUEST, REQUEST_TOO_LARGE, RATE_LIMITED: the stream ends with it */
  report(report: TargetReport): void;
  answered(answer: TargetAnswer): void;
  closed(): void;
}

/** Sync sessions of agents, as file targets need them. */
export class TargetSessions {
  readonly #states: TargetStates;
  readonly #commands: TargetCommands;

  constructor(states: TargetStates, commands: TargetCommands) {
    this.#states = states;
    this.#commands = commands;
  }

  /** `send`: undefined for an agent that knows no targets; what it reported earlier is forgotten. */
  open(agentId: string, send: ((command: TargetCommand) => void) | undefined): TargetSession {
    if (send === undefined) {
      this.#states.forget(agentId);
      return { report: () => {}, answered: () => {}, closed: () => {} };
    }
    const session = {};
    const report = this.#states.opened(agentId, session);
    this.#commands.opened(agentId, session, send);
    return {
      report,
      answered: (answer) => this.#commands.answered(session, answer),
      closed: () => {
        this.#commands.closed(agentId, session);
        this.#states.closed(agentId, session);
      },
    };
  }

  /** The agent was banned or evicted. */
  forget(agentId: string): void {
    this.#states.forget(agentId);
  }
}
