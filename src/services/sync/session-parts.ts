import type { Agent, Proven } from '../../domain/index.ts';
import type { VantageSession } from '../acme/vantage/vantage-agents.ts';
import type { TargetSession } from '../targets/target-sessions.ts';
import type { AgentSession } from './session.ts';
import type { SyncHello } from './sync.ts';
import type { SyncDependencies } from './sync-dependencies.ts';

/** What else goes over a session: commands for file targets, and validations. */
export interface SessionParts {
  readonly targets: TargetSession;
  readonly vantage: VantageSession;
}

/** An agent that does not offer a part gets nothing of it. */
export function openParts(
  agent: Proven<Agent>,
  { capabilities }: SyncHello,
  session: AgentSession,
  { targets, vantage }: Pick<SyncDependencies, 'targets' | 'vantage'>,
): SessionParts {
  return {
    targets: targets.open(
      agent.spiffeId,
      capabilities.includes('file-targets') ? (command) => session.send(command) : undefined,
    ),
    vantage: vantage.open(
      agent,
      capabilities.includes('vantage')
        ? (task) => {
            if (session.blocked) return false;
            session.send({ kind: 'vantage', task });
            return true;
          }
        : undefined,
    ),
  };
}
