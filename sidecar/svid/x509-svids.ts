import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock, Logger, Random } from '../../src/common/runtime/index.ts';
import type { Selector, TrustDomain } from '../../src/common/spiffe/index.ts';
import { verifyX509Svid } from '../../src/common/x509/index.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import { identityKey, type HeldX509Svid, type Identity, type SvidLease } from '../contract.ts';
import { Agenda, backoffMs, pullForwardMs, renewAtMonotonicMs, retryDelayMs, SuspendWatch } from '../schedule/index.ts';
import type { WorkloadKeyStore } from '../state/index.ts';
import { newRecord, type HeldRecord } from './held-record.ts';
import { Lease } from './lease.ts';
import { compact, Interner } from './memory.ts';
import { Warmth } from './warmth.ts';
import { passesByItself, type Signed, type SigningQueue } from './signing-queue.ts';

export interface X509SvidsEvents {
  readonly renewed: (first: boolean) => void;
  readonly failed: (code: string) => void;
  readonly expiredInUse: () => void;
  /** The holder of this serial has read its replacement. */
  readonly replaced: (serial: string) => void;
}

export interface X509SvidsParts {
  readonly trustDomain: TrustDomain;
  readonly cache: SyncedEntryCache;
  readonly queue: SigningQueue;
  readonly roots: () => readonly Buffer[];
  readonly connected: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly events: X509SvidsEvents;
  /** Released identities that are kept. */
  readonly warm: number;
  /** Identities that are obtained before anyone asks. */
  readonly prefetch: number;
  /** How long `ready` waits for a first SVID. */
  readonly readyDeadlineMs: number;
  readonly keyStore?: WorkloadKeyStore;
}

/** First identities are tried again soon, since someone waits. */
const firstRetry = { baseMs: 250, capMs: 10_000 };
const refusalRetry = { baseMs: 5_000, capMs: 300_000 };
/** Renewals that an outage held up are spread over at most this after it. */
const maximumCatchUpMs = 60_000;

export interface HeldView {
  readonly svid: HeldX509Svid;
  readonly renewAt: number;
  readonly consumers: number;
}

/**
 * The X.509-SVIDs of this node's workloads: one record per identity in use, a bounded number kept after and obtained ahead
 * of use. Owner of all of them and of their renewal.
 */
export class X509Svids {
  readonly #parts: X509SvidsParts;
  readonly #records = new Map<string, HeldRecord>();
  readonly #agenda: Agenda<string>;
  readonly #watch: SuspendWatch;
  readonly #warmth: Warmth;
  readonly #interner = new Interner();
  /** Waiting for a connection. */
  readonly #offline = new Set<HeldRecord>();
  #tainted = new Map<string, number>();
  #reconcilePlanned = false;
  #stopped = false;

  constructor(parts: X509SvidsParts) {
    this.#parts = parts;
    this.#warmth = new Warmth(parts.warm, (record) => this.#forget(record));
    this.#watch = new SuspendWatch(parts.clock);
    this.#agenda = new Agenda(parts.clock, (due) => this.#due(due), () => this.#woke());
    parts.cache.onChange(() => this.#reconcileSoon());
  }

  acquire(identity: Identity, selectors: readonly Selector[]): SvidLease {
    const key = identityKey(identity);
    const record = this.#records.get(key) ?? this.#add(key, identity, selectors);
    // the newest caller's selectors are the reason on record; they match the entry as the earlier ones did
    record.selectors = selectors;
    record.withdrawn = false;
    this.#warmth.used(record);
    const lease = new Lease(record, {
      current: () => this.#current(record),
      replaced: this.#parts.events.replaced,
      released: () => this.#released(record),
      clock: this.#parts.clock,
      deadlineMs: this.#parts.readyDeadlineMs,
      connected: this.#parts.connected,
    });
    record.leases.add(lease);
    const now = this.#parts.clock.monotonicMs();
    const due = this.#agenda.at(key);
    if (this.#current(record) === undefined) {
      if (record.refusal === undefined || record.refusedUntilMonotonicMs <= now) this.#request(record);
    } else if (due === undefined || due >= record.expiresAtMonotonicMs) this.#agenda.set(key, Math.max(now, this.#plannedFrom(record)));
    return lease;
  }

  /** The connection is back: those who wait for a first SVID ask at once, renewals spread out. */
  reconnected(): void {
    const { clock, random } = this.#parts;
    const now = clock.monotonicMs();
    for (const record of this.#offline) {
      record.attempt = 0;
      if (this.#current(record) === undefined) this.#request(record);
      else this.#agenda.set(record.key, now + random.uniform() * Math.min(maximumCatchUpMs, (record.expiresAtMonotonicMs - now) / 4));
    }
    this.#offline.clear();
    this.#reconcileSoon();
  }

  /** All authorities that are tainted now, by ID, with the window (seconds) in which their leaves are to be replaced. */
  setTainted(tainted: ReadonlyMap<string, number>): void {
    this.#tainted = new Map(tainted);
    for (const record of this.#records.values()) this.#pullForwardIfTainted(record);
  }

  held(): readonly HeldView[] {
    const { clock } = this.#parts;
    const [now, monotonic] = [clock.now(), clock.monotonicMs()];
    return [...this.#records.values()].flatMap((record) => {
      const svid = this.#current(record);
      return svid === undefined ? [] : [{ svid, renewAt: now + Math.round(((this.#agenda.at(record.key) ?? monotonic) - monotonic) / 1000), consumers: record.leases.size }];
    });
  }

  /** Number held, and seconds until the first of those in use expires. */
  horizon(): { readonly held: number; readonly soonestExpirySeconds: number | undefined } {
    const now = this.#parts.clock.monotonicMs();
    let held = 0;
    let soonest = Infinity;
    for (const record of this.#records.values()) {
      if (this.#current(record) === undefined) continue;
      held += 1;
      if (record.leases.size > 0) soonest = Math.min(soonest, record.expiresAtMonotonicMs);
    }
    return { held, soonestExpirySeconds: soonest === Infinity ? undefined : Math.max(0, (soonest - now) / 1000) };
  }

  /** The shortest life among what is in use: the outage that is survived follows from it. */
  shortestLifeSeconds(): number | undefined {
    let shortest = Infinity;
    for (const record of this.#records.values()) if (record.svid !== undefined && this.#inUse(record)) shortest = Math.min(shortest, record.lifetimeSeconds);
    return shortest === Infinity ? undefined : shortest;
  }

  /** Takes the keys of an earlier run, where the operator had them kept. After the entries are known. */
  async restore(): Promise<void> {
    const { keyStore, cache, clock, random } = this.#parts;
    if (keyStore === undefined) return;
    for (const stored of await keyStore.load()) {
      const identity = cache.identityFor(stored.entryId, stored.selectors);
      const remaining = stored.notAfter - clock.now();
      const key = identity === undefined ? '' : identityKey(identity);
      if (identity === undefined || identity.spiffeId.toString() !== stored.spiffeId || identity.entry.revision !== stored.entryRevision || remaining <= 0 || this.#records.has(key)) continue;
      const record = newRecord(key, identity, stored.selectors);
      const now = clock.monotonicMs();
      Object.assign(record, { authorityId: stored.authorityId, lifetimeSeconds: stored.lifetimeSeconds, expiresAtMonotonicMs: now + remaining * 1000, lost: true });
      record.svid = { identity, serial: stored.serial, chainDer: stored.chainDer.map((der) => this.#interner.intern(der)), privateKeyPkcs8Der: stored.privateKeyPkcs8Der, notBefore: stored.notBefore, notAfter: stored.notAfter };
      this.#records.set(key, record);
      this.#agenda.set(key, Math.max(now, renewAtMonotonicMs(stored.lifetimeSeconds, now - (stored.lifetimeSeconds - remaining) * 1000, random.uniform())));
      this.#warmth.released(record);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#agenda.stop();
    for (const record of this.#records.values()) for (const lease of record.leases) lease.failed(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
    this.#records.clear();
    this.#offline.clear();
  }

  #add(key: string, identity: Identity, selectors: readonly Selector[]): HeldRecord {
    const record = newRecord(key, identity, selectors);
    this.#records.set(key, record);
    return record;
  }

  #current(record: HeldRecord): HeldX509Svid | undefined {
    return !record.dropped && !record.withdrawn && record.expiresAtMonotonicMs > this.#parts.clock.monotonicMs() ? record.svid : undefined;
  }

  #inUse(record: HeldRecord): boolean {
    return record.leases.size > 0 || record.prefetched;
  }

  #released(record: HeldRecord): void {
    if (record.leases.size > 0 || record.dropped || this.#stopped || (record.prefetched && !record.withdrawn)) return;
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
    const request = { entryId: entry.id, selectors: record.selectors, replacesSerial: record.svid?.serial ?? '', unanswered: record.unanswered };
    this.#parts.queue.sign(request, first && record.leases.size > 0).then((signed) => {
      record.signing = false;
      this.#accept(record, signed, entry.revision);
      if (record.signAgain) this.#request(record);
    }).catch((thrown: unknown) => {
      record.signing = false;
      this.#failed(record, PkiError.from(thrown));
    });
  }

  #accept(record: HeldRecord, { svid, key, sentAtMonotonicMs }: Signed, askedRevision: number): void {
    if (record.dropped || record.withdrawn || this.#stopped) return;
    const { trustDomain, random, roots, events, logger, keyStore } = this.#parts;
    const wanted = record.identity.spiffeId;
    const anchors = roots();
    // judged by the server's time, which made it: a node whose clock is off still gets its SVIDs
    // Envoy stops taking updates after one pair that does not match (its issue 42438): nothing unchecked goes out
    const verified = verifyX509Svid({ chainDer: svid.chainDer, bundle: (name) => (name === trustDomain.name ? anchors : undefined), now: svid.serverTime });
    if (!verified.ok) throw new PkiError('SVID_INVALID', `the SVID for ${wanted.toString()} does not verify: ${verified.error.message}`, { cause: verified.error });
    if (!verified.value.id.equals(wanted)) throw new PkiError('SVID_INVALID', `the SVID for ${wanted.toString()} names ${verified.value.id.toString()}`);
    if (!verified.value.leaf.spkiDer.equals(key.spkiDer)) throw new PkiError('SVID_INVALID', `the SVID for ${wanted.toString()} has another key`);
    const [leaf, privateKey] = compact(svid.chainDer[0] as Buffer, key.privateKeyPkcs8Der) as [Buffer, Buffer];
    const previous = record.svid;
    const held: HeldX509Svid = {
      identity: record.identity, serial: svid.serial, chainDer: [leaf, ...svid.chainDer.slice(1).map((der) => this.#interner.intern(der))], privateKeyPkcs8Der: privateKey,
      notBefore: svid.notBefore, notAfter: svid.notAfter,
    };
    const remainingSeconds = svid.notAfter - svid.serverTime;
    record.svid = held;
    record.authorityId = this.#interner.text(svid.authorityId);
    record.lifetimeSeconds = svid.lifetimeSeconds;
    record.expiresAtMonotonicMs = sentAtMonotonicMs + remainingSeconds * 1000;
    record.attempt = 0;
    record.refusal = undefined;
    this.#agenda.set(record.key, renewAtMonotonicMs(svid.lifetimeSeconds, sentAtMonotonicMs - (svid.lifetimeSeconds - remainingSeconds) * 1000, random.uniform()));
    this.#pullForwardIfTainted(record);
    this.#noteReplaced(record, previous);
    events.renewed(previous === undefined);
    logger.debug({ spiffeId: wanted.toString(), serial: svid.serial, notAfter: svid.notAfter, first: previous === undefined }, 'SVID received');
    for (const lease of record.leases) lease.updated(held);
    if (!this.#inUse(record)) this.#warmth.released(record);
    keyStore?.save(record.key, {
      entryId: record.identity.entry.id, entryRevision: record.identity.entry.revision, spiffeId: wanted.toString(), selectors: record.selectors, serial: held.serial, authorityId: record.authorityId,
      chainDer: held.chainDer, privateKeyPkcs8Der: held.privateKeyPkcs8Der, notBefore: held.notBefore, notAfter: held.notAfter, lifetimeSeconds: svid.lifetimeSeconds,
    }).catch((thrown: unknown) => logger.error({ err: thrown, spiffeId: wanted.toString() }, 'a workload key could not be kept'));
    // the entry changed while this was being signed: what it says now counts
    if (record.identity.entry.revision !== askedRevision) record.signAgain = true;
  }

  #noteReplaced(record: HeldRecord, previous: HeldX509Svid | undefined): void {
    if (previous === undefined || record.lost) {
      record.lost = false;
      return;
    }
    if (record.leases.size === 0) this.#parts.events.replaced(previous.serial);
    else record.replaced = [...record.replaced.slice(-15), { serial: previous.serial, holders: new Set(record.leases) }];
  }

  #failed(record: HeldRecord, error: PkiError): void {
    if (record.dropped || record.withdrawn || this.#stopped) return;
    const { clock, random, events, logger, connected } = this.#parts;
    const now = clock.monotonicMs();
    const expired = record.svid !== undefined && record.expiresAtMonotonicMs <= now;
    if (expired) {
      record.svid = undefined;
      if (record.leases.size > 0) {
        events.expiredInUse();
        logger.error({ spiffeId: record.identity.spiffeId.toString(), code: error.code }, 'an SVID expired in use');
      }
    }
    events.failed(error.code);
    if (!this.#inUse(record) && record.svid === undefined) {
      this.#forget(record);
      return;
    }
    if (error.code === 'UNREACHABLE' && !connected()) {
      this.#offline.add(record);
      return;
    }
    logger.warn({ code: error.code, err: error, spiffeId: record.identity.spiffeId.toString() }, 'an SVID was not issued');
    const attempt = record.attempt;
    record.attempt += 1;
    const dice = random.uniform();
    if (passesByItself(error)) {
      this.#agenda.set(record.key, now + (record.svid === undefined ? backoffMs(attempt, dice, firstRetry) : retryDelayMs(attempt, dice, record.lifetimeSeconds, record.expiresAtMonotonicMs - now)));
      return;
    }
    record.refusal = error;
    record.refusedUntilMonotonicMs = now + backoffMs(attempt, dice, refusalRetry);
    this.#agenda.set(record.key, record.refusedUntilMonotonicMs);
    if (record.svid === undefined) for (const lease of record.leases) lease.failed(error);
  }

  #due(keys: readonly string[]): void {
    const now = this.#parts.clock.monotonicMs();
    for (const key of keys) {
      const record = this.#records.get(key);
      if (record === undefined) continue;
      if (this.#inUse(record)) this.#request(record);
      else if (record.expiresAtMonotonicMs <= now) this.#forget(record);
      else this.#agenda.set(key, record.expiresAtMonotonicMs);
    }
  }

  /** After a suspend everything is as much older as the machine slept. */
  #woke(): void {
    const slept = this.#watch.slept();
    if (slept === 0) return;
    this.#parts.logger.info({ sleptMs: Math.round(slept) }, 'the machine was suspended, or its clock was set forward');
    for (const record of this.#records.values()) {
      record.expiresAtMonotonicMs -= slept;
      const planned = this.#agenda.at(record.key);
      if (planned !== undefined) this.#agenda.set(record.key, planned - slept);
    }
  }

  #plannedFrom(record: HeldRecord): number {
    return renewAtMonotonicMs(record.lifetimeSeconds, record.expiresAtMonotonicMs - record.lifetimeSeconds * 1000, this.#parts.random.uniform());
  }

  #pullForwardIfTainted(record: HeldRecord): void {
    const windowSeconds = this.#tainted.get(record.authorityId);
    if (windowSeconds === undefined || record.svid === undefined || !this.#inUse(record)) return;
    const { clock, random } = this.#parts;
    const now = clock.monotonicMs();
    this.#agenda.set(record.key, pullForwardMs(this.#agenda.at(record.key) ?? Infinity, now, windowSeconds, random.uniform()));
  }

  #reconcileSoon(): void {
    if (this.#reconcilePlanned || this.#stopped) return;
    this.#reconcilePlanned = true;
    setImmediate(() => {
      this.#reconcilePlanned = false;
      if (!this.#stopped) this.#reconcile();
    });
  }

  /** Holds against the entries: what they no longer give is dropped at once, what they give otherwise is renewed. */
  #reconcile(): void {
    const { cache, clock, random } = this.#parts;
    const now = clock.now();
    for (const record of [...this.#records.values()]) {
      const { entry } = record.identity;
      // most changes are about others
      if (!record.withdrawn && cache.get(entry.id) === entry && (entry.expiresAt === 0 || entry.expiresAt > now)) continue;
      const identity = cache.identityFor(record.identity.entry.id, record.selectors);
      if (identity === undefined || !identity.spiffeId.equals(record.identity.spiffeId)) {
        this.#withdraw(record);
        continue;
      }
      const back = record.withdrawn;
      record.withdrawn = false;
      if (identity.entry.revision === record.identity.entry.revision && !back) continue;
      record.identity = identity;
      record.refusal = undefined;
      record.attempt = 0;
      if (!record.signing) {
        delete record.unanswered.requestId;
        delete record.unanswered.key;
      }
      if (record.svid !== undefined) record.svid = { ...record.svid, identity };
      if (!this.#inUse(record)) continue;
      if (record.svid === undefined) this.#request(record);
      // a change of one entry is urgent, one of many at once must not become a burst
      else this.#agenda.set(record.key, clock.monotonicMs() + random.uniform() * Math.min(2000, 2 * this.#records.size));
    }
    this.#prefetch();
  }

  #prefetch(): void {
    const { cache, prefetch, connected } = this.#parts;
    if (prefetch === 0 || !connected() || !cache.synced()) return;
    let held = 0;
    for (const record of this.#records.values()) if (record.prefetched) held += 1;
    if (held >= prefetch) return;
    const candidates = [...cache.entries()].filter((entry) => !entry.isTemplate).sort((left, right) => left.selectors.length - right.selectors.length || left.createdAt - right.createdAt);
    for (const entry of candidates) {
      if (held >= prefetch) return;
      const identity = cache.identityFor(entry.id, entry.selectors);
      if (identity === undefined) continue;
      const key = identityKey(identity);
      if (this.#records.has(key)) continue;
      const record = this.#add(key, identity, entry.selectors);
      record.prefetched = true;
      held += 1;
      this.#request(record);
    }
  }

  /** The right has ended: the key goes at once. A record with leases stays, so that its holders get a new SVID if the right comes back. */
  #withdraw(record: HeldRecord): void {
    if (record.leases.size === 0) {
      this.#forget(record);
      return;
    }
    if (record.withdrawn) return;
    Object.assign(record, { withdrawn: true, svid: undefined, expiresAtMonotonicMs: 0, refusal: undefined, attempt: 0, replaced: [], lost: true, prefetched: false });
    this.#agenda.delete(record.key);
    this.#offline.delete(record);
    for (const lease of record.leases) lease.failed(gone(record));
    this.#removeStored(record);
  }

  #removeStored(record: HeldRecord): void {
    this.#parts.keyStore?.remove(record.key).catch((thrown: unknown) => this.#parts.logger.error({ err: thrown }, 'a workload key could not be removed'));
  }

  /** Ends a record; whoever still has a lease on it finds nothing there. */
  #forget(record: HeldRecord): void {
    record.dropped = true;
    record.svid = undefined;
    if (this.#records.get(record.key) === record) this.#records.delete(record.key);
    this.#agenda.delete(record.key);
    this.#offline.delete(record);
    this.#warmth.used(record);
    for (const lease of record.leases) lease.failed(gone(record));
    this.#removeStored(record);
  }
}

const gone = (record: HeldRecord): PkiError => new PkiError('ENTRY_NOT_AUTHORIZED', `no entry gives ${record.identity.spiffeId.toString()} to this process any more`);
