import type { ServicesDependencies } from '../services-dependencies.ts';
import type { Access } from '../callers/access.ts';
import type { RefusalLog } from '../callers/refusal-log.ts';
import { IssuerHandshakes } from './issuer-handshakes.ts';
import { Rollouts } from './rollouts.ts';
import { TargetCommands } from './target-commands.ts';
import { TargetService } from './target-service.ts';
import { TargetSessions } from './target-sessions.ts';
import { TargetStates } from './target-states.ts';

export interface CreatedTargets {
  readonly targets: TargetService;
  /** For the sync sessions of agents. */
  readonly sessions: TargetSessions;
  close(): void;
}

export function createTargets(
  dependencies: ServicesDependencies,
  { access, refusals }: { readonly access: Access; readonly refusals: RefusalLog },
): CreatedTargets {
  const { store, authorities, clock, logger, settings } = dependencies;
  const states = new TargetStates(clock);
  const commands = new TargetCommands(clock);
  const rollouts = new Rollouts({
    ...{ states, commands, clock, logger },
    handshakes: new IssuerHandshakes({
      certificates: store.certificates,
      authorities,
      handshakes: dependencies.handshakes,
    }),
    lyingShare: settings.canaryLyingShare,
  });
  return {
    targets: new TargetService({
      ...{ states, commands, rollouts, access, refusals, clock },
      audit: store.audit,
    }),
    sessions: new TargetSessions(states, commands),
    close() {
      rollouts.close();
      commands.close();
    },
  };
}
