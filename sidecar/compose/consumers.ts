import { StreamsWithoutCrls } from '../apis/workload/index.ts';
import { loadHoldings } from '../state/index.ts';
import { Consumers, HandshakeCounts, Replacements, type IssuerSession } from '../sync/index.ts';
import type { AgentEnvironment } from './environment.ts';
import { HoldingsKeeper } from './holdings-keeper.ts';
import type { Late } from './late.ts';
import type { TrustStage } from './trust.ts';

/**
 * Third stage: the consumers of this node, what each has received, and the reports to the server.
 */
export interface ConsumersStage extends AsyncDisposable {
  readonly consumers: Consumers;
  readonly replacements: Replacements;
  readonly handshakes: HandshakeCounts;
  readonly withoutCrls: StreamsWithoutCrls;
  /** Restores the consumers of an earlier run. Call it after the session is made. */
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
    withoutCrls: new StreamsWithoutCrls(),
    async restore() {
      consumers.restore(await loadHoldings(config.dataDir));
    },
    async [Symbol.asyncDispose]() {
      await holdings.flush();
      consumers.close();
    },
  };
}
