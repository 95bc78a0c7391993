import type { HandshakeReport } from './contract.ts';

/** Of one agent; what is beyond is not kept, so that a node can not fill the server's memory. */
const maximumPerAgent = 2_000;

/**
 * What workloads and proxies report of their handshakes, newest report per consumer and issuer key.
 * Kept in memory: after a restart the agents report again. Owner of what it holds.
 */
export class HandshakeLedger {
  readonly #byAgent = new Map<string, Map<string, HandshakeReport>>();

  /** A report replaces the one before of the same consumer and key. */
  record(agentId: string, reports: readonly HandshakeReport[]): void {
    let held = this.#byAgent.get(agentId);
    if (held === undefined) this.#byAgent.set(agentId, (held = new Map()));
    for (const report of reports) {
      const key = `${report.consumerId} ${report.issuerKeyId}`;
      if (held.has(key) || held.size < maximumPerAgent) held.set(key, report);
    }
  }

  /** The agent's session ended: its consumers report again when they are back. */
  forget(agentId: string): void {
    this.#byAgent.delete(agentId);
  }

  /** Sums over all consumers, for peers whose leaf names this issuer key (hex). */
  totals(issuerKeyId: string): {
    readonly reporters: number;
    readonly succeeded: number;
    readonly failed: number;
    readonly reasons: Readonly<Record<string, number>>;
  } {
    let reporters = 0;
    let succeeded = 0;
    let failed = 0;
    const reasons: Record<string, number> = {};
    for (const reports of this.#byAgent.values()) {
      for (const report of reports.values()) {
        if (report.issuerKeyId !== issuerKeyId) continue;
        reporters += 1;
        succeeded += report.succeeded;
        failed += report.failed;
        for (const [reason, count] of Object.entries(report.reasons))
          reasons[reason] = (reasons[reason] ?? 0) + count;
      }
    }
    return { reporters, succeeded, failed, reasons };
  }
}
