import type { Clock } from '../../common/runtime/index.ts';
import type { NodeHandshakes } from '../../domain/index.ts';
import type { HandshakeReport } from '../services.ts';

/** Of one agent; what is beyond is not kept, so that a node can not fill the server's memory. */
const maximumPerAgent = 2_000;
const bucketsPerWindow = 12;

interface Bucket {
  readonly sinceMs: number;
  succeeded: number;
  failed: number;
}

/** Counts of one consumer with peers under one issuer key. */
interface Counter {
  readonly consumerId: string;
  readonly issuerKeyId: string;
  /** What the consumer has counted in its life, as it said last. */
  total: Pick<HandshakeReport, 'since' | 'succeeded' | 'failed'>;
  /** What came to that within the window, oldest first. */
  buckets: Bucket[];
}

interface NodeCounts {
  readonly counters: Map<string, Counter>;
  /** The consumers that live, by the last report of them; undefined: the agent is away. */
  living: ReadonlySet<string> | undefined;
}

/**
 * What workloads and proxies report of their handshakes. Kept in memory: after a restart the agents
 * report again. A consumer reports what it has counted in its life; what counts here is what came to
 * that within the window, the first report whole. Owner of what it holds.
 */
export class HandshakeLedger {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #windowMs: number;
  readonly #byAgent = new Map<string, NodeCounts>();

  constructor(clock: Pick<Clock, 'monotonicMs'>, windowSeconds: number) {
    this.#clock = clock;
    this.#windowMs = windowSeconds * 1000;
  }

  /** A report replaces the one before of the same consumer and key. */
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

  /** The consumers of a connected agent: what others counted before is forgotten. */
  consumers(agentId: string, living: ReadonlySet<string>): void {
    const node = this.#of(agentId);
    for (const [key, { consumerId }] of node.counters)
      if (node.living?.has(consumerId) === true && !living.has(consumerId))
        node.counters.delete(key);
    node.living = living;
  }

  /** The session of the agent ended: nothing of it counts until it says again who lives. */
  away(agentId: string): void {
    const node = this.#byAgent.get(agentId);
    if (node !== undefined) node.living = undefined;
  }

  /** The agent was banned or evicted. */
  forget(agentId: string): void {
    this.#byAgent.delete(agentId);
  }

  /** By node, of connected agents and living consumers, for peers under this issuer key (hex). */
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
    const known = this.#byAgent.get(agentId);
    if (known !== undefined) return known;
    const fresh: NodeCounts = { counters: new Map(), living: undefined };
    this.#byAgent.set(agentId, fresh);
    return fresh;
  }

  #add(counter: Counter, { since, succeeded, failed }: HandshakeReport): void {
    const { total } = counter;
    // a consumer that began anew counts from nothing
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
