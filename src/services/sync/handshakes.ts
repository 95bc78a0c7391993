import type { Clock } from '../../common/runtime/index.ts';
import type { NodeHandshakes } from '../../domain/index.ts';
import type { HandshakeReport } from '../services.ts';

/** Maximum number of counters per agent, so that a node can not fill the server's memory. */
const maximumPerAgent = 2_000;
const bucketsPerWindow = 12;

interface Bucket {
  readonly sinceMs: number;
  succeeded: number;
  failed: number;
}

/** The counts of one consumer with peers below one issuer key. */
interface Counter {
  readonly consumerId: string;
  readonly issuerKeyId: string;
  /** The total over the consumer's life, from its last report. */
  total: Pick<HandshakeReport, 'since' | 'succeeded' | 'failed'>;
  /** What was added within the window, oldest first. */
  buckets: Bucket[];
}

interface NodeCounts {
  readonly counters: Map<string, Counter>;
  /** The living consumers, from the last report. Undefined: the agent is not connected. */
  living: ReadonlySet<string> | undefined;
}

/**
 * Handshakes that workloads and proxies report. They are kept in memory: after a restart the agents
 * report again. A consumer reports its total. Here counts what was added within the window; the
 * first report counts whole. Owner of the counters.
 */
export class HandshakeLedger {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #windowMs: number;
  readonly #byAgent = new Map<string, NodeCounts>();

  constructor(clock: Pick<Clock, 'monotonicMs'>, windowSeconds: number) {
    this.#clock = clock;
    this.#windowMs = windowSeconds * 1000;
  }

  /** A report replaces the previous one of the same consumer and key. */
  record(agentId: string, reports: readonly HandshakeReport[]): void {
    const { counters } = this.#of(agentId);
    for (const report of reports) {
      const key = `${report.consumerId} ${report.issuerKeyId}`;
      const known = counters.get(key);
      if (known !== undefined) this.#add(known, report);
      else if (counters.size < maximumPerAgent) {
        const { consumerId, issuerKeyId } = report;
        const none = { since: report.since, succeeded: 0, failed: 0 };
        const counter: Counter = { consumerId, issuerKeyId, total: none, buckets: [] };
        this.#add(counter, report);
        counters.set(key, counter);
      }
    }
  }

  /** Sets the living consumers of a connected agent. Counts of other consumers are dropped. */
  consumers(agentId: string, living: ReadonlySet<string>): void {
    const node = this.#of(agentId);
    for (const [key, { consumerId }] of node.counters)
      if (node.living?.has(consumerId) === true && !living.has(consumerId))
        node.counters.delete(key);
    node.living = living;
  }

  /**
   * Called when the session of the agent ended. Its counts do not apply until it reports its living
   * consumers again.
   */
  away(agentId: string): void {
    const node = this.#byAgent.get(agentId);
    if (node !== undefined) node.living = undefined;
  }

  /** Called when the agent was banned or evicted. */
  forget(agentId: string): void {
    this.#byAgent.delete(agentId);
  }

  /**
   * Handshakes by node, of connected agents and living consumers, with peers below this issuer key
   * (hex).
   */
  nodes(issuerKeyId: string): readonly NodeHandshakes[] {
    const oldest = this.#clock.monotonicMs() - this.#windowMs;
    return [...this.#byAgent].flatMap(([agentId, { counters, living }]) => {
      let succeeded = 0;
      let failed = 0;
      for (const counter of counters.values()) {
        if (counter.issuerKeyId !== issuerKeyId || living?.has(counter.consumerId) !== true)
          continue;
        for (const bucket of counter.buckets) {
          if (bucket.sinceMs < oldest) continue;
          succeeded += bucket.succeeded;
          failed += bucket.failed;
        }
      }
      return succeeded + failed === 0 ? [] : [{ agentId, succeeded, failed }];
    });
  }

  #of(agentId: string): NodeCounts {
    const node = this.#byAgent.get(agentId);
    if (node !== undefined) return node;
    const fresh: NodeCounts = { counters: new Map(), living: undefined };
    this.#byAgent.set(agentId, fresh);
    return fresh;
  }

  #add(counter: Counter, { since, succeeded, failed }: HandshakeReport): void {
    const { total } = counter;
    // a consumer that restarted counts from zero
    const goesOn = since === total.since && succeeded >= total.succeeded && failed >= total.failed;
    const before = goesOn ? total : { succeeded: 0, failed: 0 };
    counter.total = { since, succeeded, failed };
    const nowMs = this.#clock.monotonicMs();
    const kept = counter.buckets.filter(({ sinceMs }) => sinceMs >= nowMs - this.#windowMs);
    let last = kept.at(-1);
    if (last === undefined || last.sinceMs < nowMs - this.#windowMs / bucketsPerWindow) {
      last = { sinceMs: nowMs, succeeded: 0, failed: 0 };
      kept.push(last);
    }
    last.succeeded += succeeded - before.succeeded;
    last.failed += failed - before.failed;
    counter.buckets = kept;
  }
}
