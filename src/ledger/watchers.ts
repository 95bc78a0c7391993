import type { Clock } from '../common/runtime/index.ts';
import type { AuditEvent, ConsumerRecord } from '../domain/index.ts';
import type { AuditStore } from '../store/ports/index.ts';
import type { IssuedLeaves } from './issued-leaves.ts';
import { saysTheSame } from './confirmations.ts';

/** One process of a control plane. */
export interface WatcherId {
  readonly clientId: string;
  readonly instance: string;
}

export interface WatcherReport {
  /** The process itself and what it serves, with ID and agent ID as this memory counts them. */
  readonly consumers: readonly ConsumerRecord[];
  readonly namesAllHolders: boolean;
}

/**
 * Control planes that watch the bundle. That one has watched is in the log, so that no change of a
 * row hides it. What it holds counts only as it was told to this process.
 */
export interface LedgerWatchers {
  /** The latest end of the certificates with which each control plane watched, Unix seconds. */
  known(): ReadonlyMap<string, number>;
  /** Makes it durable that this control plane watches, unless the log says so already. */
  begin(clientId: string, notAfter: number, event: AuditEvent): Promise<void>;
  /** Replaces what this process of it has told. */
  report(id: WatcherId, report: WatcherReport): void;
  /** This process of it holds nothing any more. */
  forget(id: WatcherId): void;
  reported(id: WatcherId): WatcherReport | undefined;
  /** The processes of this control plane of which something is in memory. */
  instances(clientId: string): readonly string[];
  consumers(): readonly ConsumerRecord[];
  /** Control planes that name everybody who may hold a certificate that was signed for them. */
  namingAllHolders(): readonly string[];
  lastSeenAt(clientId: string): number;
  /** The latest end of what was signed for this control plane; 0: nothing is known. */
  lastLeafOf(clientId: string, now: number): number;
  /** Unreplaced certificates of this authority that were signed for this control plane. */
  certificatesOf(clientId: string, authorityId: string, now: number): number;
}

interface Told extends WatcherReport {
  readonly at: number;
}

/** Owner of what control planes told this process. */
export class Watchers implements LedgerWatchers {
  readonly #audit: Pick<AuditStore, 'append'>;
  readonly #issued: IssuedLeaves;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #told = new Map<string, Map<string, Told>>();

  constructor(audit: Pick<AuditStore, 'append'>, issued: IssuedLeaves, clock: Pick<Clock, 'now'>) {
    this.#audit = audit;
    this.#issued = issued;
    this.#clock = clock;
  }

  known(): ReadonlyMap<string, number> {
    return this.#issued.watchers();
  }

  async begin(clientId: string, notAfter: number, event: AuditEvent): Promise<void> {
    if ((this.known().get(clientId) ?? 0) < notAfter) await this.#audit.append([event]);
  }

  report({ clientId, instance }: WatcherId, report: WatcherReport): void {
    const instances = this.#told.get(clientId) ?? new Map<string, Told>();
    const before = new Map(
      instances.get(instance)?.consumers.map((consumer) => [consumer.id, consumer]),
    );
    const now = this.#clock.now();
    instances.set(instance, {
      ...report,
      at: now,
      consumers: report.consumers.map((consumer) => ({
        ...consumer,
        heardAt: heardAt(before.get(consumer.id), consumer, now),
      })),
    });
    this.#told.set(clientId, instances);
  }

  forget({ clientId, instance }: WatcherId): void {
    const instances = this.#told.get(clientId);
    instances?.delete(instance);
    if (instances?.size === 0) this.#told.delete(clientId);
  }

  reported({ clientId, instance }: WatcherId): WatcherReport | undefined {
    return this.#told.get(clientId)?.get(instance);
  }

  instances(clientId: string): readonly string[] {
    return [...(this.#told.get(clientId)?.keys() ?? [])];
  }

  consumers(): readonly ConsumerRecord[] {
    return [...this.#told.values()].flatMap((instances) =>
      [...instances.values()].flatMap(({ consumers }) => consumers),
    );
  }

  namingAllHolders(): readonly string[] {
    return [...this.#told].flatMap(([clientId, instances]) =>
      [...instances.values()].every(({ namesAllHolders }) => namesAllHolders) ? [clientId] : [],
    );
  }

  lastSeenAt(clientId: string): number {
    return Math.max(0, ...[...(this.#told.get(clientId)?.values() ?? [])].map(({ at }) => at));
  }

  lastLeafOf(clientId: string, now: number): number {
    return this.#issued.holders(now).get(clientId) ?? 0;
  }

  certificatesOf(clientId: string, authorityId: string, now: number): number {
    const { unreplaced } = this.#issued;
    const live = unreplaced.countOf(authorityId, now, (holder) => holder === clientId);
    // as long as records are unread, at least one may be there
    const unknown = !unreplaced.whole && this.#issued.lastOf(authorityId) >= now;
    return live === 0 && unknown && this.lastLeafOf(clientId, now) >= now ? 1 : live;
  }
}

const heardAt = (
  before: ConsumerRecord | undefined,
  consumer: ConsumerRecord,
  now: number,
): number =>
  before?.heardAt !== undefined && saysTheSame(before, consumer) ? before.heardAt : now;
