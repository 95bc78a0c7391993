import { PkiError } from '../../src/common/errors/index.ts';
import { IssuerChains } from '../bundle/index.ts';
import type { AgentMetrics } from '../metrics.ts';
import { survivedOutageSeconds } from '../schedule/index.ts';
import { IssuerSession, TargetReports } from '../sync/index.ts';
import { noVantagePoint, TaskedVantagePoint, type VantagePoint } from '../vantage/index.ts';
import { AuthoritiesFollower } from './authorities.ts';
import type { ConsumersStage } from './consumers.ts';
import type { EntriesStage } from './entries.ts';
import type { FileTargetsStage } from './file-targets.ts';
import type { AgentEnvironment } from './environment.ts';
import { SelfConsumer } from './self-consumer.ts';
import type { SvidsStage } from './svids.ts';
import type { TrustStage } from './trust.ts';

/** Fifth stage: the session with the server. */
export interface SessionStage {
  readonly session: IssuerSession;
  /** The published issuing authorities that verify under the bundle. */
  readonly issuers: Pick<IssuerChains, 'verified'>;
  /** Runs the session until it is disposed. */
  run(): AsyncDisposable;
}

export interface SessionStageDependencies {
  readonly trust: TrustStage;
  readonly entries: EntriesStage;
  readonly held: ConsumersStage;
  readonly svids: SvidsStage;
  readonly fileTargets: FileTargetsStage;
  readonly metrics: AgentMetrics;
}

export async function openSession(
  environment: AgentEnvironment,
  { trust, entries, held, svids, fileTargets, metrics }: SessionStageDependencies,
): Promise<SessionStage> {
  const { config, logger, version, clock, random } = environment;
  const { targets } = fileTargets;
  const { identity, bundles, lost, state, writes, connect } = trust;
  const { consumers, replacements, handshakes } = held;
  const { x509, jwt } = svids;
  const bundleLogger = logger.child({ part: 'bundle' });
  const issuers = new IssuerChains(bundles, clock, bundleLogger);
  const self = new SelfConsumer({ consumers, bundles, state, issuers, identity, version });
  const follower = new AuthoritiesFollower({
    ...{ bundles, issuers, identity, x509, jwt, clock, logger },
    targets: fileTargets,
    replan: () => session.replan(),
    onChange: () => self.confirm(),
  });
  const session: IssuerSession = new IssuerSession({
    ...{ identity, bundles, consumers, replacements, handshakes, clock, random, connect },
    targets: new TargetReports(targets, logger.child({ part: 'file-targets' })),
    vantage: await vantagePoint(environment, metrics),
    checkpoints: trust.checkpoints,
    receiver: entries.receiver,
    lostState: lost,
    logger: logger.child({ part: 'session' }),
    agentVersion: version,
    instanceId: random.bytes(16).toString('hex'),
    survivedOutageSeconds: () => {
      const shortest = x509.shortestLifeSeconds();
      return shortest === undefined ? 0 : survivedOutageSeconds(shortest);
    },
    keptSerial: () => state.keptSerial,
    reconnect: { baseMs: config.connection.backoffBaseMs, capMs: config.connection.backoffCapMs },
    shortestLifeSeconds: () => x509.horizon().shortestWantedLifeSeconds,
    soonestExpirySeconds: () => x509.horizon().soonestExpirySeconds,
    onEntries: () => entries.keeper.changed(),
    onTainted: (tainted, replaced) => follower.tainted(tainted, replaced),
    onAuthorities: (update) => follower.updated(update),
    onRenewal: (succeeded) => metrics.renewal('agent', succeeded),
  });
  bundles.onChange(() => {
    issuers.recheck();
    self.confirm();
  });
  writes.onChange(() => {
    self.confirm();
    session.reportSoon();
  });
  targets.onChange(() => session.reportSoon());
  session.onChange(() => {
    if (!session.connected()) return;
    self.register();
    x509.reconnected();
    fileTargets.reconnected();
  });
  return { session, issuers, run: () => runSession(session) };
}

function runSession(session: IssuerSession): AsyncDisposable {
  const stop = new AbortController();
  const running = session.run(stop.signal);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
      await running;
    },
  };
}

/** What validates is loaded only where the operator of this node wants it. */
async function vantagePoint(
  { config, clock, logger }: AgentEnvironment,
  metrics: AgentMetrics,
): Promise<VantagePoint> {
  const part = logger.child({ part: 'vantage' });
  if (!config.vantage.enabled) return noVantagePoint(part);
  const { createValidator } = await import('../../src/common/validation/index.ts');
  return new TaskedVantagePoint({
    ...{ config: config.vantage, clock, logger: part },
    validatorOf: (settings) => createValidator({ settings, listeners: () => [config.ops], clock }),
    onResult: (result) => metrics.vantage(result),
  });
}
