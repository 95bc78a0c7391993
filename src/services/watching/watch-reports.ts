import { PkiError, unwrap } from '../../common/errors/index.ts';
import { TokenBucket, type Clock } from '../../common/runtime/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import type { AuditEvent, ConsumerRecord } from '../../domain/index.ts';
import type { LedgerWatchers } from '../../ledger/index.ts';
import type { IssuanceStore } from '../../store/ports/index.ts';
import { checkText, enforceRate } from '../requests.ts';
import type { WatchedConsumer, WatchReport } from './watch.ts';

const maximumConsumers = 10_000;
/** Of all processes of one control plane, also of those that are gone. */
const maximumInAll = 50_000;
const maximumSerials = 10_000;
const digestPattern = /^([0-9a-f]{64})?$/;
const serialPattern = /^[0-9a-f]{2,40}$/;
const reportRate = { perSecond: 10, burst: 100 };
const states: readonly string[] = ['pending', 'confirmed', 'refused'];

export interface WatchReportDependencies {
  readonly watchers: LedgerWatchers;
  readonly issuance: Pick<IssuanceStore, 'confirmReplaced'>;
  readonly clock: Clock;
}

/** The reports of one stream: what this process of a control plane, and what it serves, hold. */
export class WatchReports {
  readonly #clientId: string;
  readonly #instance: string;
  readonly #version: string;
  readonly #dependencies: WatchReportDependencies;
  readonly #bucket: TokenBucket;
  #first = true;
  #left = false;

  constructor(
    of: { readonly clientId: string; readonly instance: string; readonly version: string },
    dependencies: WatchReportDependencies,
  ) {
    this.#clientId = of.clientId;
    this.#instance = of.instance;
    this.#version = of.version;
    this.#dependencies = dependencies;
    this.#bucket = new TokenBucket(reportRate, dependencies.clock);
  }

  async take(report: WatchReport): Promise<void> {
    enforceRate(this.#bucket.take(), 'too many reports');
    const { watchers } = this.#dependencies;
    const id = { clientId: this.#clientId, instance: this.#instance };
    if (this.#left)
      throw new PkiError('INVALID_REQUEST', 'a process that leaves reports nothing more');
    if (report.leaving) {
      this.#left = true;
      await watchers.leave(id, (notAfter) => this.#leaving(notAfter));
      return;
    }
    if (report.consumers.length > maximumConsumers)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `a report names at most ${maximumConsumers} consumers`,
      );
    checkDigests(report);
    const served = report.consumers.map((consumer) => this.#served(consumer));
    const lost = this.#first ? this.#lost(served) : this.#stillLost(served);
    this.#first = false;
    this.#checkSize(served.length + lost.length);
    await this.#replaced(report.replacedSerials);
    watchers.report(id, {
      consumers: [this.#self(report), ...served, ...lost],
      namesAllHolders: report.namesAllHolders,
    });
  }

  #leaving(notAfter: number): AuditEvent {
    const holder = this.#clientId;
    return {
      timeMs: this.#dependencies.clock.nowMs(),
      actor: holder,
      kind: 'control-plane.left',
      subject: holder,
      detail: { holder, notAfter, instance: this.#instance },
    };
  }

  #checkSize(count: number): void {
    const { watchers } = this.#dependencies;
    let others = 0;
    for (const instance of watchers.instances(this.#clientId))
      if (instance !== this.#instance)
        others += watchers.reported({ clientId: this.#clientId, instance })?.consumers.length ?? 0;
    if (others + count > maximumInAll)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `all processes of a control plane name at most ${maximumInAll} consumers`,
      );
  }

  async #replaced(serials: readonly string[]): Promise<void> {
    if (serials.length > maximumSerials)
      throw new PkiError('REQUEST_TOO_LARGE', `a report names at most ${maximumSerials} serials`);
    const bad = serials.find((serial) => !serialPattern.test(serial));
    if (bad !== undefined)
      throw new PkiError(
        'INVALID_REQUEST',
        `${JSON.stringify(bad.slice(0, 64))} is not a serial in lower-case hex`,
      );
    const { issuance, clock } = this.#dependencies;
    // the store confirms only certificates that were signed for this control plane
    if (serials.length > 0)
      await issuance.confirmReplaced(this.#clientId, [...new Set(serials)], clock.now());
  }

  #self({ authoritySetDigest, jwtSetDigest }: WatchReport): ConsumerRecord {
    return {
      agentId: this.#clientId,
      id: this.#instance,
      kind: 'control-plane',
      spiffeId: this.#clientId,
      authoritySetDigest,
      jwtSetDigest,
      issuerSetDigest: '',
      capabilities: [],
      state: authoritySetDigest === '' ? 'pending' : 'confirmed',
      reason: '',
      since: this.#dependencies.clock.now(),
      description: [this.#instance, this.#version].filter((text) => text !== '').join(' '),
    };
  }

  #served(consumer: WatchedConsumer): ConsumerRecord {
    if (consumer.id === '') throw new PkiError('INVALID_REQUEST', 'a consumer has no ID');
    if (!states.includes(consumer.state))
      throw new PkiError(
        'INVALID_REQUEST',
        `the consumer state ${JSON.stringify(consumer.state.slice(0, 40))} is not one of ${states.join(', ')}`,
      );
    checkDigests(consumer);
    unwrap(SpiffeId.parse(consumer.spiffeId));
    return {
      agentId: this.#clientId,
      id: `${this.#instance}/${checkText('consumer id', consumer.id, 200)}`,
      kind: 'served',
      spiffeId: consumer.spiffeId,
      authoritySetDigest: consumer.authoritySetDigest,
      jwtSetDigest: consumer.jwtSetDigest,
      issuerSetDigest: '',
      capabilities: [],
      state: consumer.state as ConsumerRecord['state'],
      reason: checkText('consumer reason', consumer.reason, 500),
      since: Number.isSafeInteger(consumer.since) && consumer.since >= 0 ? consumer.since : 0,
      description: '',
      ...(Number.isSafeInteger(consumer.departedUntil) && consumer.departedUntil > 0
        ? { departedUntil: consumer.departedUntil }
        : {}),
    };
  }

  /**
   * What an earlier stream of this process named and its new one does not. It may still use its
   * certificate. An identity that the new stream names is not lost.
   */
  #lost(served: readonly ConsumerRecord[]): readonly ConsumerRecord[] {
    const { watchers, clock } = this.#dependencies;
    const named = new Set(served.map(({ spiffeId }) => spiffeId));
    const now = clock.now();
    const until = watchers.lastLeafOf(this.#clientId, now);
    return this.#earlier(served).flatMap((consumer) => {
      if (consumer.lostUntil === undefined && named.has(consumer.spiffeId)) return [];
      const lostUntil = consumer.lostUntil ?? consumer.departedUntil ?? until;
      return lostUntil > now ? [asLost(consumer, lostUntil)] : [];
    });
  }

  #stillLost(served: readonly ConsumerRecord[]): readonly ConsumerRecord[] {
    const now = this.#dependencies.clock.now();
    return this.#earlier(served).filter(({ lostUntil = 0 }) => lostUntil > now);
  }

  #earlier(served: readonly ConsumerRecord[]): readonly ConsumerRecord[] {
    const ids = new Set(served.map(({ id }) => id));
    const told = this.#dependencies.watchers.reported({
      clientId: this.#clientId,
      instance: this.#instance,
    });
    return (told?.consumers ?? []).filter(({ id, kind }) => kind === 'served' && !ids.has(id));
  }
}

const asLost = (consumer: ConsumerRecord, lostUntil: number): ConsumerRecord => ({
  ...consumer,
  reason:
    'the new stream of its control plane does not report it, and its certificate has not ended',
  lostUntil,
});

function checkDigests(of: {
  readonly authoritySetDigest: string;
  readonly jwtSetDigest: string;
}): void {
  if (!digestPattern.test(of.authoritySetDigest) || !digestPattern.test(of.jwtSetDigest))
    throw new PkiError('INVALID_REQUEST', 'the digest of an authority set is not a SHA-256');
}
