import type { AgentStatus } from '../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import { openConsumers } from './compose/consumers.ts';
import { openDoors } from './compose/doors.ts';
import { openEntries } from './compose/entries.ts';
import type { AgentEnvironment } from './compose/environment.ts';
import { openFileTargets } from './compose/file-targets.ts';
import { Late } from './compose/late.ts';
import { gaugesOf, readinessOf, standingOf, statusOf, type Readiness } from './compose/report.ts';
import { openSession } from './compose/session.ts';
import { openSvids } from './compose/svids.ts';
import { openTrust } from './compose/trust.ts';
import { configuredOutageSeconds } from './config.ts';
import { createAgentMetrics } from './metrics.ts';
import { survivedOutageSeconds } from './schedule/index.ts';
import type { IssuerSession } from './sync/index.ts';

export interface RunningAgent extends AsyncDisposable {
  readonly opsPort: number;
  status(): AgentStatus;
  readiness(): Readiness;
}

/**
 * Builds one agent, stage by stage, and starts it. A failure here fails the start; a later failure
 * is retried and shown in the status. Disposal ends the session first, then the sockets, then the
 * other stages in reverse order, and releases the state directory last.
 */
export async function startAgent(environment: AgentEnvironment): Promise<RunningAgent> {
  const { config } = environment;
  await using started = new AsyncDisposableStack();
  const metrics = createAgentMetrics();
  const late = new Late<IssuerSession>('the session with the server');

  const trust = started.use(await openTrust(environment, metrics));
  const entries = started.use(await openEntries(environment, trust));
  const held = started.use(openConsumers(environment, trust, late));
  const { replacements } = held;
  const svids = started.use(
    openSvids(environment, { trust, entries, replacements, session: late, metrics }),
  );
  const outageSeconds = (): number => {
    const shortest = svids.x509.shortestLifeSeconds();
    return shortest === undefined
      ? configuredOutageSeconds(config)
      : survivedOutageSeconds(shortest);
  };
  const stages = { trust, entries, held, svids };
  const fileTargets = started.use(
    await openFileTargets(environment, { trust, entries, held, session: late, metrics }),
  );
  const { targets } = fileTargets;
  const sessionStage = await openSession(environment, { ...stages, fileTargets, metrics });
  const { session } = sessionStage;
  late.fill(session);
  await svids.restore();
  await held.restore();
  await fileTargets.start();

  const reported = { ...environment, ...stages, session, targets, outageSeconds };
  const status = (): AgentStatus => statusOf(reported);
  const readiness = (): Readiness => readinessOf(reported);
  metrics.observe(gaugesOf(reported));
  const doors = started.use(
    await openDoors(environment, {
      ...stages,
      metrics,
      issuers: sessionStage.issuers,
      readiness,
      status,
      standing: (identity) => standingOf(reported, identity),
      targets,
    }),
  );
  started.use(sessionStage.run());
  const parts = started.move();
  return {
    opsPort: doors.opsPort,
    status,
    readiness,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
