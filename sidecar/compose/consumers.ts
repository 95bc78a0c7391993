import { loadHoldings } from '../state/index.ts';
import { Consumers, HandshakeCounts, Replacements, type IssuerSession } from '../sync/index.ts';
import type { AgentEnvironment } from './environment.ts';
import { HoldingsKeeper } from './holdings-keeper.ts';
import type { Late } from './late.ts';
import type { TrustStage } from './trust.ts';

/** Third stage: who holds what on this node, and what the server is to be told of it. */
export interface ConsumersStage extends AsyncDisposable {
  readonly consumers: Consumers;
  readonly replacements: Replacements;
  readonly handshakes: HandshakeCounts;
  /** Those that an earlier run of this agent gave something to. After the session is made. */
  restore(): Promise<void>;
}

export function openConsumers(
  { config, clock }: AgentEnvironment,
  { writes }: TrustStage,
  session: Late<IssuerSession>,
): ConsumersStage {
  const report = (): void => session.value.reportSoon();
  const holdings: HoldingsKeeper = new HoldingsKeeper({
    directory: config.dataDir,
    writes,
    consumers: () => consumers,
    clock,
  });
  const consumers = new Consumers(clock, report, () => holdings.changed());
  return {
    consumers,
    replacements: new Replacements(report),
    handshakes: new HandshakeCounts(report),
    async restore() {
      consumers.restore(await loadHoldings(config.dataDir));
    },
    async [Symbol.asyncDispose]() {
      await holdings.flush();
      consumers.close();
    },
  };
}
