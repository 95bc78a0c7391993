import { PkiError } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import type { HeldX509Svid, Standing, SvidSubscription } from '../ports/svids.ts';
import { Agenda, pullForwardMs, renewAtMonotonicMs, SuspendWatch } from '../schedule/index.ts';
import { currentOf, gone, isInUse, newRecord, withdraw, type HeldRecord } from './held-record.ts';
import { fromStored, toStored } from './kept-keys.ts';
import { X509Subscription, noteReplaced } from './subscription.ts';
import { Interner } from './memory.ts';
import type { HeldView, X509SvidsDependencies } from './x509-svids-dependencies.ts';
import { reconcile, toPrefetch } from './reconcile.ts';
import { afterFailure } from './retry.ts';
import type { Signed } from './signing-queue.ts';
import { putInto, verifySigned } from './signed.ts';
import { Tainted } from './tainted.ts';
import { heldViews, horizonOf, shortestLifeOf, standingOf, type Horizon } from './views.ts';
import { Warmth } from './warmth.ts';
import { errorFields } from '../../src/common/runtime/index.ts';

/** Renewals that an outage held up are spread over at most this after it. */
const maximumCatchUpMs = 60_000;

/**
 * The X.509-SVIDs of this node's workloads: one record per identity in use, a bounded number kept
 * after and obtained ahead of use. Owner of all of them and of their renewal.
 */
export class X509Svids {
  readonly #dependencies: X509SvidsDependencies;
  readonly #records = new Map<string, HeldRecord>();
  readonly #agenda: Agenda<string>;
  readonly #watch: SuspendWatch;
  readonly #warmth: Warmth;
  readonly #interner = new Interner();
  /** Waiting for a connection. */
  readonly #offline = new Set<HeldRecord>();
  readonly #tainted = new Tainted();
  #reconcilePlanned = false;
  #stopped = false;

  constructor(dependencies: X509SvidsDependencies) {
    this.#dependencies = dependencies;
    this.#warmth = new Warmth(dependencies.warm, (record) => this.#forget(record));
    this.#watch = new SuspendWatch(dependencies.clock);
    this.#agenda = new Agenda(
      dependencies.clock,
      (due) => this.#due(due),
      () => this.#woke(),
    );
    dependencies.cache.onChange(() => this.#reconcileSoon());
  }

  acquire(identity: Identity, selectors: readonly Selector[]): SvidSubscription {
    const key = identityKey(identity);
    const record = this.#records.get(key) ?? this.#add(key, identity, selectors);
    // the newest caller's selectors are the reason on record; they match the entry as the earlier
    // ones did
    record.selectors = selectors;
    record.withdrawn = false;
    this.#warmth.used(record);
    const subscription = new X509Subscription(record, {
      current: () => this.#current(record),
      replaced: this.#dependencies.events.replaced,
      released: () => this.#released(record),
      clock: this.#dependencies.clock,
      deadlineMs: this.#dependencies.readyDeadlineMs,
      connected: this.#dependencies.connected,
    });
    record.subscriptions.add(subscription);
    const now = this.#dependencies.clock.monotonicMs();
    const due = this.#agenda.at(key);
    if (this.#current(record) === undefined) {
      if (record.refusal === undefined || record.refusedUntilMonotonicMs <= now)
        this.#request(record);
    } else if (due === undefined || due >= record.expiresAtMonotonicMs)
      this.#agenda.set(key, Math.max(now, this.#plannedFrom(record)));
    // one that was kept warm was not in use when the taint was told
    if (record.subscriptions.size === 1)
      this.#pullForward(record, this.#dependencies.random.uniform());
    return subscription;
  }

  /** The connection is back: those who wait for a first SVID ask at once, renewals spread out. */
  reconnected(): void {
    const { clock, random } = this.#dependencies;
    const now = clock.monotonicMs();
    for (const record of this.#offline) {
      record.attempt = 0;
      if (this.#current(record) === undefined) this.#request(record);
      else
        this.#agenda.set(
          record.key,
          now +
            random.uniform() * Math.min(maximumCatchUpMs, (record.expiresAtMonotonicMs - now) / 4),
        );
    }
    this.#offline.clear();
    this.#reconcileSoon();
  }

  /**
   * All authorities that are tainted now, by ID, with the window (seconds) in which their leaves
   * are to be replaced.
   */
  setTainted(tainted: ReadonlyMap<string, number>): void {
    for (const { record, share } of this.#tainted.set(tainted, this.#records.values(), () =>
      this.#dependencies.random.uniform(),
    ))
      this.#pullForward(record, share);
  }

  held(): readonly HeldView[] {
    return heldViews(this.#records.values(), this.#dependencies.clock, (key) =>
      this.#agenda.at(key),
    );
  }

  standing(identity: Identity): Standing {
    const record = this.#records.get(identityKey(identity));
    return standingOf(record, this.#dependencies.clock.monotonicMs());
  }

  /** Number held, and seconds until the first of those in use expires. */
  horizon(): Horizon {
    return horizonOf(this.#records.values(), this.#dependencies.clock.monotonicMs());
  }

  /** The shortest life among what is in use: the outage that is survived follows from it. */
  shortestLifeSeconds(): number | undefined {
    return shortestLifeOf(this.#records.values());
  }

  /**
   * Takes the keys of an earlier run, where the operator had them kept. After the entries are
   * known.
   */
  async restore(): Promise<void> {
    const { keyStore, cache, clock } = this.#dependencies;
    if (keyStore === undefined) return;
    for (const stored of await keyStore.load()) {
      const record = fromStored(
        stored,
        cache.identityFor(stored.entryId, stored.selectors),
        this.#interner,
        clock,
      );
      if (record === undefined || this.#records.has(record.key)) continue;
      this.#records.set(record.key, record);
      this.#agenda.set(record.key, Math.max(clock.monotonicMs(), this.#plannedFrom(record)));
      this.#warmth.released(record);
    }
  }

  close(): void {
    this.#stopped = true;
    this.#agenda.close();
    for (const record of this.#records.values())
      for (const subscription of record.subscriptions)
        subscription.failed(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
    this.#records.clear();
    this.#offline.clear();
  }

  #add(key: string, identity: Identity, selectors: readonly Selector[]): HeldRecord {
    const record = newRecord(key, identity, selectors);
    this.#records.set(key, record);
    return record;
  }

  #current(record: HeldRecord): HeldX509Svid | undefined {
    return currentOf(record, this.#dependencies.clock.monotonicMs());
  }

  #released(record: HeldRecord): void {
    if (
      record.subscriptions.size > 0 ||
      record.dropped ||
      this.#stopped ||
      (record.prefetched && !record.withdrawn)
    )
      return;
    if (record.svid === undefined) this.#forget(record);
    else this.#warmth.released(record);
  }

  #request(record: HeldRecord): void {
    if (this.#stopped || record.dropped || record.withdrawn) return;
    // what comes of the call under way decides whether another is needed
    if (record.signing) return;
    record.signing = true;
    record.signAgain = false;
    const first = record.svid === undefined;
    const { entry } = record.identity;
    const request = {
      entryId: entry.id,
      selectors: record.selectors,
      replacesSerial: record.svid?.serial ?? '',
      unanswered: record.unanswered,
    };
    this.#dependencies.queue
      .sign(request, first && record.subscriptions.size > 0)
      .then((signed) => {
        record.signing = false;
        this.#accept(record, signed, entry.revision);
        if (record.signAgain) this.#request(record);
      })
      .catch((thrown: unknown) => {
        record.signing = false;
        this.#failed(record, PkiError.from(thrown));
      });
  }

  #accept(record: HeldRecord, signed: Signed, askedRevision: number): void {
    if (record.dropped || record.withdrawn || this.#stopped) return;
    const { trustDomain, roots, events, logger, keyStore, random } = this.#dependencies;
    const spiffeId = record.identity.spiffeId.toString();
    verifySigned(signed, record.identity.spiffeId, trustDomain, roots());
    const previous = record.svid;
    const held = putInto(record, signed, this.#interner);
    this.#agenda.set(record.key, this.#plannedFrom(record));
    this.#pullForward(record, random.uniform());
    noteReplaced(record, previous, events.replaced);
    events.renewed(previous === undefined);
    logger.debug(
      { spiffeId, serial: held.serial, notAfter: held.notAfter, first: previous === undefined },
      'SVID received',
    );
    for (const subscription of record.subscriptions) subscription.updated(held);
    if (!isInUse(record)) this.#warmth.released(record);
    keyStore
      ?.save(record.key, toStored(record, held))
      .catch((thrown: unknown) =>
        logger.error({ ...errorFields(thrown), spiffeId }, 'a workload key could not be kept'),
      );
    // the entry changed while this was being signed: what it says now counts
    if (record.identity.entry.revision !== askedRevision) record.signAgain = true;
  }

  #failed(record: HeldRecord, error: PkiError): void {
    if (record.dropped || record.withdrawn || this.#stopped) return;
    const { clock, random, events, logger, connected } = this.#dependencies;
    const now = clock.monotonicMs();
    const expired = record.svid !== undefined && record.expiresAtMonotonicMs <= now;
    if (expired) {
      record.svid = undefined;
      if (record.subscriptions.size > 0) {
        events.expiredInUse();
        logger.error(
          { spiffeId: record.identity.spiffeId.toString(), code: error.code },
          'an SVID expired in use',
        );
      }
    }
    events.failed(error.code);
    if (!isInUse(record) && record.svid === undefined) {
      this.#forget(record);
      return;
    }
    if (error.code === 'UNREACHABLE' && !connected()) {
      this.#offline.add(record);
      // looked at again when it ends, so that an expiry in use is told
      if (record.svid !== undefined) this.#agenda.set(record.key, record.expiresAtMonotonicMs);
      return;
    }
    logger.warn(
      { ...errorFields(error), spiffeId: record.identity.spiffeId.toString() },
      'an SVID was not issued',
    );
    const { retryAtMonotonicMs, refused } = afterFailure(record, error, now, random.uniform());
    this.#agenda.set(record.key, retryAtMonotonicMs);
    if (refused) for (const subscription of record.subscriptions) subscription.failed(error);
  }

  #due(keys: readonly string[]): void {
    const now = this.#dependencies.clock.monotonicMs();
    for (const key of keys) {
      const record = this.#records.get(key);
      if (record === undefined) continue;
      if (isInUse(record)) this.#request(record);
      else if (record.expiresAtMonotonicMs <= now) this.#forget(record);
      else this.#agenda.set(key, record.expiresAtMonotonicMs);
    }
  }

  /** After a suspend everything is as much older as the machine slept. */
  #woke(): void {
    const slept = this.#watch.slept();
    if (slept === 0) return;
    this.#dependencies.logger.info(
      { sleptMs: Math.round(slept) },
      'the machine was suspended, or its clock was set forward',
    );
    for (const record of this.#records.values()) {
      record.expiresAtMonotonicMs -= slept;
      const planned = this.#agenda.at(record.key);
      if (planned !== undefined) this.#agenda.set(record.key, planned - slept);
    }
  }

  #plannedFrom(record: HeldRecord): number {
    return renewAtMonotonicMs(
      record.lifetimeSeconds,
      record.expiresAtMonotonicMs - record.lifetimeSeconds * 1000,
      this.#dependencies.random.uniform(),
    );
  }

  /** Into the window of a tainted authority, at this share of it. */
  #pullForward(record: HeldRecord, share: number): void {
    const windowSeconds = this.#tainted.windowOf(record);
    if (windowSeconds === undefined) return;
    this.#agenda.set(
      record.key,
      pullForwardMs(
        this.#agenda.at(record.key) ?? Infinity,
        this.#dependencies.clock.monotonicMs(),
        windowSeconds,
        share,
      ),
    );
  }

  #reconcileSoon(): void {
    if (this.#reconcilePlanned || this.#stopped) return;
    this.#reconcilePlanned = true;
    setImmediate(() => {
      this.#reconcilePlanned = false;
      if (!this.#stopped) this.#reconcile();
    });
  }

  /**
   * Holds against the entries: what they no longer give is dropped at once, what they give
   * otherwise is renewed.
   */
  #reconcile(): void {
    const { cache, clock, random, prefetch, connected } = this.#dependencies;
    const { ended, changed } = reconcile(this.#records.values(), cache, clock.now());
    for (const record of ended) this.#withdraw(record);
    for (const record of changed) {
      if (record.svid === undefined) this.#request(record);
      // a change of one entry is urgent, one of many at once must not become a burst
      else
        this.#agenda.set(
          record.key,
          clock.monotonicMs() + random.uniform() * Math.min(2000, 2 * changed.length),
        );
    }
    if (prefetch === 0 || !connected() || !cache.synced()) return;
    for (const identity of toPrefetch(this.#records, cache, prefetch)) {
      const record = this.#add(identityKey(identity), identity, identity.entry.selectors);
      record.prefetched = true;
      this.#request(record);
    }
  }

  /**
   * The right has ended: the key goes at once. A record with subscriptions stays, so that its
   * holders get a new SVID if the right comes back.
   */
  #withdraw(record: HeldRecord): void {
    if (record.subscriptions.size === 0) {
      this.#forget(record);
      return;
    }
    if (record.withdrawn) return;
    withdraw(record);
    this.#agenda.delete(record.key);
    this.#offline.delete(record);
    for (const subscription of record.subscriptions) subscription.failed(gone(record));
    this.#removeStored(record);
  }

  #removeStored(record: HeldRecord): void {
    this.#dependencies.keyStore
      ?.remove(record.key)
      .catch((thrown: unknown) =>
        this.#dependencies.logger.error(
          { ...errorFields(thrown) },
          'a workload key could not be removed',
        ),
      );
  }

  /** Ends a record; whoever still has a subscription on it finds nothing there. */
  #forget(record: HeldRecord): void {
    record.dropped = true;
    record.svid = undefined;
    if (this.#records.get(record.key) === record) this.#records.delete(record.key);
    this.#agenda.delete(record.key);
    this.#offline.delete(record);
    this.#warmth.used(record);
    for (const subscription of record.subscriptions) subscription.failed(gone(record));
    this.#removeStored(record);
  }
}
