import { PkiError, unwrap } from '../../common/errors/index.ts';
import { errorFields, Rounds, type Logger } from '../../common/runtime/index.ts';
import { parseCrl, type ParsedCrl } from '../../common/x509/index.ts';
import {
  crlId,
  hasEnded,
  hasOwnKey,
  isInCrlSet,
  needsCrl,
  publishesCrl,
  takesCrl,
  type Authority,
  type CrlStanding,
  type StoredCrl,
} from '../../domain/index.ts';
import { RowComparison, type LedgerRevocations } from '../../ledger/index.ts';
import { CrlIntake, type CrlIntakeDependencies } from './intake.ts';
import { checkExternalCrl, type ImportedCrl } from './import.ts';
import { CrlMaker, type CrlMakerDependencies, type CrlRound } from './maker.ts';
import { CrlShelf, type KeptCrl } from './shelf.ts';
import type { ShardAllocator } from './shard-allocator.ts';
import { standingOf } from './standing.ts';
import { scopeOf } from './units.ts';
import { CrlWarnings } from './warnings.ts';
import { CrlWorkshop } from './workshop.ts';

export interface CrlPublisherDependencies
  extends Omit<CrlMakerDependencies, 'workshop' | 'shelf'>,
    CrlIntakeDependencies {
  readonly authorities: { all(): readonly Authority[]; onChange(listener: () => void): () => void };
  readonly store: CrlMakerDependencies['store'] &
    CrlIntakeDependencies['store'] &
    Pick<LedgerRevocations, 'crls' | 'mark' | 'entries' | 'crlCovers' | 'compareRows'>;
  readonly shards: Pick<ShardAllocator, 'prepare' | 'open' | 'onOpened'>;
  readonly onRevision: (listener: () => void) => () => void;
  /** True while nothing may be written, because the database is not trusted. Default: false. */
  readonly held?: () => boolean;
  readonly logger: Logger;
}

export interface PublishedCrl {
  readonly authorityId: string;
  readonly der: Buffer;
  readonly nextUpdate: number;
}

const lookEveryMs = 60_000;
/** For so long the previous set stays while the first CRL of a new authority is being signed. */
const graceSeconds = 30;

/**
 * The CRLs of this CA: a complete one of each authority, and one of each shard of its leaves, signed
 * by its own key and kept in the store. Each is signed anew at half of its life and after each
 * revocation in it, one at a time; those that lack a revocation come first. CRLs of authorities
 * whose keys other CAs hold are imported and checked against the recorded certificate.
 *
 * Owner of the set that is handed out to agents and workloads. The set is complete (the complete CRL
 * of each authority of the mesh whose certificates may be in use) or empty: a consumer that checks
 * CRLs refuses a whole chain if one CRL of it is missing.
 */
export class CrlPublisher {
  readonly #dependencies: CrlPublisherDependencies;
  readonly #workshop: CrlWorkshop;
  readonly #maker: CrlMaker;
  readonly #comparison: RowComparison;
  readonly #intake: CrlIntake;
  readonly #shelf: CrlShelf;
  readonly #warnings: CrlWarnings;
  readonly #listeners = new Set<() => void>();
  #set: readonly PublishedCrl[] = [];
  #incompleteSince: number | undefined;
  #stop: (() => void)[] = [];
  readonly #rounds: Rounds;
  #started = false;
  #closed = false;

  constructor(dependencies: CrlPublisherDependencies) {
    this.#dependencies = dependencies;
    const { clock, logger } = dependencies;
    this.#rounds = new Rounds({
      clock,
      everyMs: lookEveryMs,
      work: () => this.#work(),
      onError: (thrown) =>
        logger.error({ ...errorFields(thrown) }, 'the CRLs could not be looked through'),
    });
    this.#shelf = new CrlShelf(dependencies.store);
    this.#workshop = new CrlWorkshop({ revocations: dependencies.store });
    const parts = { workshop: this.#workshop, shelf: this.#shelf };
    this.#maker = new CrlMaker({ ...dependencies, ...parts });
    const { store } = dependencies;
    this.#comparison = new RowComparison('revocations', () => store.compareRows(), dependencies);
    this.#intake = new CrlIntake(dependencies);
    this.#warnings = new CrlWarnings(dependencies);
  }

  /**
   * Resolves when every CRL that can be signed is signed. A failure is logged and retried, never
   * thrown.
   */
  async start(): Promise<void> {
    const { authorities, onRevision, shards, store } = this.#dependencies;
    for (const crl of await store.crls()) this.#keepStored(crl);
    this.#started = true;
    this.#stop = [
      authorities.onChange(() => this.#rounds.changed()),
      onRevision(() => this.#rounds.changed()),
      shards.onOpened(() => this.#rounds.changed()),
    ];
    for (const authority of authorities.all())
      for (const unit of this.#maker.units(authority)) this.#workshop.prepare(scopeOf(unit));
    await this.#rounds.run();
    this.#comparison.soon();
  }

  /**
   * The present CRL of a shard of an authority, or its complete one (shard 0), in DER.
   *
   * @throws PkiError NOT_FOUND
   */
  crl(authorityId: string, shard = 0): Promise<Buffer> {
    const kept = this.#shelf.get(authorityId, shard);
    const authority = this.#dependencies.authorities.all().find(({ id }) => id === authorityId);
    if (kept === undefined || authority === undefined || !this.#handsOut(authority))
      return Promise.reject(
        new PkiError('NOT_FOUND', `there is no CRL ${crlId(authorityId, shard)} here`),
      );
    return Promise.resolve(kept.crl.der);
  }

  /** The complete set, or an empty one. The same object is returned until something changes. */
  set(): readonly PublishedCrl[] {
    return this.#set;
  }

  /** Called when `set` changed. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Imports the CRL of an authority whose key is not here. When this resolves, the CRL is durable
   * and part of the set. The import of a CRL that is already stored is no error.
   *
   * @throws the codes of `checkExternalCrl`, and CRL_NOT_NEWER
   */
  async importExternal({
    actor,
    crlDer,
    dryRun = false,
  }: {
    readonly actor: string;
    readonly crlDer: Buffer;
    readonly dryRun?: boolean;
  }): Promise<ImportedCrl> {
    const { authorities, clock, clockSkewSeconds, lifeSeconds, logger } = this.#dependencies;
    if (!this.#started || this.#dependencies.held?.() === true)
      throw new PkiError('DATABASE_STALE', 'this server does not sign yet and hands out no CRLs');
    const now = clock.now();
    const {
      crl,
      authorities: of,
      warnings,
    } = unwrap(
      checkExternalCrl({
        der: Buffer.from(crlDer),
        all: authorities.all(),
        now,
        clockSkewSeconds,
        lifeSeconds,
      }),
    );
    const present = ({ id }: Authority): StoredCrl | undefined => this.#shelf.get(id, 0)?.crl;
    const older = of.filter((each) => present(each)?.der.equals(crl.raw) !== true);
    for (const authority of older)
      await this.#intake.requireNewer(authority, crl, present(authority));
    if (!dryRun) {
      for (const authority of older)
        this.#keepForeign(await this.#intake.record(authority, crl, actor), crl);
      this.#assemble();
      const ends = warnings.some((text) => text.startsWith('it revokes'));
      if (older.length > 0)
        logger[ends ? 'warn' : 'info'](
          {
            authorities: of.map(({ id }) => id),
            actor,
            number: String(crl.number),
            nextUpdate: crl.nextUpdate,
            revoked: crl.revoked.size,
            warnings,
            ...(ends ? { alert: true } : {}),
          },
          'imported a CRL of another CA',
        );
    }
    return {
      authorityIds: of.map(({ id }) => id),
      number: String(crl.number),
      thisUpdate: crl.thisUpdate,
      nextUpdate: crl.nextUpdate,
      revoked: crl.revoked.size,
      warnings,
      changed: !dryRun && older.length > 0,
      handedOut: this.#set.length > 0,
    };
  }

  /**
   * How the CRLs of each authority that consumers may need now stand, in the order of the
   * authorities: of several the state of the worst, and the end of the first that ends.
   */
  standings(): readonly CrlStanding[] {
    const { authorities, clock } = this.#dependencies;
    const now = clock.now();
    const all = authorities.all();
    return all
      .filter((each) => needsCrl(each, now))
      .flatMap((authority) => this.#standing(authority, all, now) ?? []);
  }

  #standing(authority: Authority, all: readonly Authority[], now: number): CrlStanding | undefined {
    const { id } = authority;
    const isOwn = hasOwnKey(authority);
    const needed = isOwn
      ? this.#maker
          .units(authority)
          .filter(({ lastNotAfter }) => lastNotAfter >= now)
          .map(({ shard }) => this.#shelf.get(id, shard))
      : [this.#shelf.get(id, 0)];
    if (needed.length === 0) return undefined;
    return standingOf(authority, needed, { all, now });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stop) stop();
    this.#comparison.close();
    const ended = this.#rounds.close();
    // what is being built ends with its thread
    await this.#workshop.close();
    await ended;
  }

  /** Resolves with true if something failed. */
  async #work(): Promise<boolean> {
    const { authorities, clock, logger } = this.#dependencies;
    const round: CrlRound = { failed: new Set(), signed: new Set() };
    const now = clock.now();
    const units = authorities
      .all()
      .filter((authority) => publishesCrl(authority) && !hasEnded(authority, now))
      .flatMap((authority) => this.#maker.units(authority));
    for (let unit = this.#maker.next(units, round); unit; unit = this.#maker.next(units, round)) {
      if (this.#closed) return false;
      try {
        const begunMs = clock.monotonicMs();
        const { der } = await this.#maker.bring(unit);
        round.signed.add(unit);
        const ms = clock.monotonicMs() - begunMs;
        const { shard, authority } = unit;
        logger.debug({ authority: authority.id, shard, bytes: der.length, ms }, 'signed a CRL');
        this.#comparison.soon();
        // agents do not wait for the CRLs of many shards
        if (unit.shard === 0 && isInCrlSet(unit.authority)) this.#assemble();
      } catch (thrown) {
        const error = PkiError.from(thrown);
        if (error.code === 'SHUTTING_DOWN') return false;
        round.failed.add(unit);
        const { id, kind } = unit.authority;
        logger.error(
          { authority: id, kind, shard: unit.shard, ...errorFields(error) },
          'a CRL could not be signed',
        );
      }
    }
    await this.#maker
      .drop(units)
      .catch((thrown: unknown) =>
        logger.warn({ ...errorFields(thrown) }, 'the CRL of an ended shard was not removed'),
      );
    this.#assemble();
    // do not wait for a CRL that an authority of another CA has to sign
    return (
      round.failed.size > 0 ||
      (this.#incompleteSince !== undefined && clock.now() - this.#incompleteSince <= graceSeconds)
    );
  }

  #handsOut(authority: Authority): boolean {
    return publishesCrl(authority) || takesCrl(authority, this.#dependencies.authorities.all());
  }

  #keepStored(crl: StoredCrl): void {
    const authority = this.#dependencies.authorities.all().find(({ id }) => id === crl.authorityId);
    if (authority !== undefined && hasOwnKey(authority)) {
      this.#shelf.put({ crl, parsed: undefined, mark: undefined, below: undefined });
      return;
    }
    const parsed = parseCrl(crl.der);
    if (parsed.ok) this.#keepForeign(crl, parsed.value);
  }

  #keepForeign(crl: StoredCrl, parsed: ParsedCrl): void {
    this.#shelf.put({ crl, parsed, mark: undefined, below: undefined });
  }

  #assemble(): void {
    const { authorities, clock, logger } = this.#dependencies;
    const now = clock.now();
    const all = authorities.all().filter(isInCrlSet);
    // by a clock that is not believed no CRL has expired
    const from = this.#maker.validFrom(now);
    const current = (id: string): boolean => (this.#shelf.get(id, 0)?.crl.nextUpdate ?? 0) > from;
    const missing = all.filter((authority) => needsCrl(authority, now) && !current(authority.id));
    if (missing.length > 0) {
      if (this.#incompleteSince === undefined)
        logger.warn(
          { missing: missing.map(({ id, kind }) => `${kind}/${id}`) },
          'the set of CRLs is not complete',
        );
      this.#incompleteSince ??= now;
      if (now - this.#incompleteSince < graceSeconds) return;
    } else this.#incompleteSince = undefined;
    const set =
      missing.length > 0
        ? []
        : this.#distinct(
            all.filter(
              (authority) =>
                this.#handsOut(authority) &&
                authority.state !== 'prepared' &&
                current(authority.id),
            ),
          );
    this.#warnings.tell(this.standings(), now, set);
    if (
      set.length === this.#set.length &&
      set.every(({ der }, index) => isSame(der, this.#set[index]?.der as Buffer))
    )
      return;
    this.#set = set.map(({ authorityId, der, nextUpdate }) => ({ authorityId, der, nextUpdate }));
    for (const listener of this.#listeners) listener();
  }

  /**
   * Hands out a CRL once if it belongs to two records (a certificate issued anew for the same key).
   */
  #distinct(authorities: readonly Authority[]): readonly StoredCrl[] {
    const crls = authorities.map(({ id }) => (this.#shelf.get(id, 0) as KeptCrl).crl);
    return crls.filter(
      ({ der }, index) => crls.findIndex((other) => isSame(other.der, der)) === index,
    );
  }
}

const isSame = (one: Buffer, other: Buffer): boolean => one === other || one.equals(other);
