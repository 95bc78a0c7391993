import type { Clock } from '../common/runtime/index.ts';
import type { AuditEvent, ConsumerRecord } from '../domain/index.ts';
import type { AuditStore } from '../store/ports/index.ts';
import { watcherKey, type IssuedLeaves } from './issued-leaves.ts';
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
 * Control planes that watch the bundle. Which processes of them watch is in the log, so that neither
 * a change of a row nor a restart hides one. What one holds counts only as it was told to this
 * server process; one that has told nothing holds nothing.
 */
export interface LedgerWatchers {
  /** The latest end of the certificates with which each control plane watched, Unix seconds. */
  known(): ReadonlyMap<string, number>;
  /** Makes it durable that this process watches, unless the log says so already. */
  begin(id: WatcherId, notAfter: number, event: AuditEvent): Promise<void>;
  /** Makes it durable that this process has ended for good, and forgets what it told. */
  leave(id: WatcherId, event: (notAfter: number) => AuditEvent): Promise<void>;
  /** Replaces what this process of it has told. */
  report(id: WatcherId, report: WatcherReport): void;
  /** This process of it holds nothing any more. */
  forget(id: WatcherId): void;
  reported(id: WatcherId): WatcherReport | undefined;
  /** The processes of this control plane of which something was told, or that the log has. */
  instances(clientId: string): readonly string[];
  /** What was told, and by name the processes that have told nothing. */
  consumers(): readonly ConsumerRecord[];
  /** Control planes that name everybody who may hold a certificate that was signed for them. */
  namingAllHolders(): readonly string[];
  lastSeenAt(clientId: string): number;
  /** The latest end of what was signed for this control plane; 0: nothing is known. */
  lastLeafOf(clientId: string, now: number): number;
  /** Whether this control plane has told this process that nobody uses the certificate any more. */
  wasReplaced(
    clientId: string,
    of: { readonly serial: string; readonly authorityId: string },
  ): boolean;
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
    const byClient = new Map<string, number>();
    for (const { clientId, until } of this.#processes())
      byClient.set(clientId, Math.max(until, byClient.get(clientId) ?? 0));
    return byClient;
  }

  async begin({ clientId, instance }: WatcherId, notAfter: number, event: AuditEvent) {
    const known = this.#issued.watchers().get(watcherKey(clientId, instance)) ?? 0;
    if (known < notAfter) await this.#audit.append([event]);
  }

  async leave(id: WatcherId, event: (notAfter: number) => AuditEvent): Promise<void> {
    const known = this.#issued.watchers().get(watcherKey(id.clientId, id.instance));
    if (known !== undefined) await this.#audit.append([event(known)]);
    this.forget(id);
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
    const now = this.#clock.now();
    const logged = this.#processes().filter(
      (watcher) => watcher.clientId === clientId && watcher.until >= now,
    );
    const told = this.#told.get(clientId)?.keys() ?? [];
    return [...new Set([...told, ...logged.map(({ instance }) => instance)])];
  }

  consumers(): readonly ConsumerRecord[] {
    const told = [...this.#told.values()].flatMap((instances) =>
      [...instances.values()].flatMap(({ consumers }) => consumers),
    );
    return [...told, ...this.#silent().map(silentProcess)];
  }

  namingAllHolders(): readonly string[] {
    const now = this.#clock.now();
    const silent = new Set(
      this.#silent().flatMap(({ clientId, until }) => (until >= now ? [clientId] : [])),
    );
    return [...this.#told].flatMap(([clientId, instances]) =>
      !silent.has(clientId) &&
      [...instances.values()].every(({ namesAllHolders }) => namesAllHolders)
        ? [clientId]
        : [],
    );
  }

  lastSeenAt(clientId: string): number {
    return Math.max(0, ...[...(this.#told.get(clientId)?.values() ?? [])].map(({ at }) => at));
  }

  lastLeafOf(clientId: string, now: number): number {
    return this.#issued.holders(now).get(clientId) ?? 0;
  }

  wasReplaced(
    clientId: string,
    { serial, authorityId }: { readonly serial: string; readonly authorityId: string },
  ): boolean {
    return this.#issued.unreplaced.wasReplaced(clientId, authorityId, serial);
  }

  certificatesOf(clientId: string, authorityId: string, now: number): number {
    const { unreplaced } = this.#issued;
    const live = unreplaced.countOf(authorityId, now, (holder) => holder === clientId);
    // as long as records are unread, at least one may be there
    const unknown = !unreplaced.whole && this.#issued.lastOf(authorityId) >= now;
    return live === 0 && unknown && this.lastLeafOf(clientId, now) >= now ? 1 : live;
  }

  #processes(): readonly Process[] {
    return [...this.#issued.watchers()].map(([key, until]) => {
      const [clientId = '', instance = ''] = key.split(' ');
      return { clientId, instance, until };
    });
  }

  /** The processes that have told nothing to this server process. */
  #silent(): readonly Process[] {
    return this.#processes().filter((watcher) => this.reported(watcher) === undefined);
  }
}

interface Process extends WatcherId {
  /** The latest end of the certificates with which it watched, Unix seconds. */
  readonly until: number;
}

/** It may hold old roots alone, and counts until its certificate ends. */
const silentProcess = ({ clientId, instance, until }: Process): ConsumerRecord => ({
  agentId: clientId,
  id: instance,
  kind: 'control-plane',
  spiffeId: clientId,
  authoritySetDigest: '',
  jwtSetDigest: '',
  issuerSetDigest: '',
  capabilities: [],
  state: 'pending',
  reason: '',
  since: 0,
  description: instance,
  departedUntil: until,
});

const heardAt = (
  before: ConsumerRecord | undefined,
  consumer: ConsumerRecord,
  now: number,
): number =>
  before?.heardAt !== undefined && saysTheSame(before, consumer) ? before.heardAt : now;
