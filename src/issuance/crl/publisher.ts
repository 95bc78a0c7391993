import { PkiError, unwrap } from '../../common/errors/index.ts';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import { parseCrl, type ParsedCrl } from '../../common/x509/index.ts';
import {
  crlIsDue,
  crlState,
  hasEnded,
  hasOwnKey,
  isNamesAuthority,
  needsCrl,
  publishesCrl,
  takesCrl,
  type Authority,
  type CrlContent,
  type CrlStanding,
  type StoredCrl,
} from '../../domain/index.ts';
import { RowComparison, type LedgerRevocations, type RevokedMark } from '../../ledger/index.ts';
import { CrlIntake, type CrlIntakeDependencies } from './intake.ts';
import { CrlSigner, type CrlSignerDependencies } from './signer.ts';
import { CrlWarnings } from './warnings.ts';
import { CrlWorkshop } from './workshop.ts';
import { checkExternalCrl, unlistedBelow, type ImportedCrl } from './import.ts';

export interface CrlPublisherDependencies
  extends Omit<CrlSignerDependencies, 'workshop'>,
    CrlIntakeDependencies {
  readonly authorities: { all(): readonly Authority[]; onChange(listener: () => void): () => void };
  readonly store: CrlSignerDependencies['store'] &
    CrlIntakeDependencies['store'] &
    Pick<LedgerRevocations, 'crls' | 'since' | 'compareRows'>;
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
const afterChangeMs = 20;
const retryMs = 5000;
/** For so long the previous set stays while the first CRL of a new authority is being signed. */
const graceSeconds = 30;

interface Kept {
  readonly crl: StoredCrl;
  /** Of one from outside, which is short; one of ours is read where it is built. */
  readonly parsed: ParsedCrl | undefined;
  /** Of one of ours: what is on it. undefined: not looked at since the start. */
  readonly covers: { readonly mark: RevokedMark; readonly below: ReadonlySet<string> } | undefined;
}

/**
 * The CRLs of this CA. Each authority that signs certificates has one, signed by its own key and
 * kept in the store. It is signed anew at half of its life and after each revocation. CRLs of
 * authorities whose keys other CAs hold are imported and checked against the recorded certificate.
 *
 * Owner of the set that is handed out. The set is complete (one CRL for each authority of the mesh
 * whose certificates may be in use) or empty: a consumer that checks CRLs refuses a whole chain if one
 * CRL of it is missing.
 */
export class CrlPublisher {
  readonly #dependencies: CrlPublisherDependencies;
  readonly #workshop: CrlWorkshop;
  readonly #signer: CrlSigner;
  readonly #comparison: RowComparison;
  readonly #intake: CrlIntake;
  readonly #stored = new Map<string, Kept>();
  readonly #warnings: CrlWarnings;
  readonly #listeners = new Set<() => void>();
  #set: readonly PublishedCrl[] = [];
  #incompleteSince: number | undefined;
  #stop: (() => void)[] = [];
  #cancel: (() => void) | undefined;
  #working: Promise<void> | undefined;
  #again = false;
  #started = false;
  #closed = false;

  constructor(dependencies: CrlPublisherDependencies) {
    this.#dependencies = dependencies;
    this.#workshop = new CrlWorkshop({ revocations: dependencies.store });
    this.#signer = new CrlSigner({ ...dependencies, workshop: this.#workshop });
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
    const { authorities, onRevision, store } = this.#dependencies;
    for (const crl of await store.crls()) this.#keepStored(crl);
    this.#started = true;
    this.#stop = [
      authorities.onChange(() => this.#soon(afterChangeMs)),
      onRevision(() => this.#soon(afterChangeMs)),
    ];
    await this.#round();
    this.#comparison.soon();
  }

  /**
   * The present CRL of an authority, in DER.
   *
   * @throws PkiError NOT_FOUND
   */
  crl(authorityId: string): Promise<Buffer> {
    const stored = this.#stored.get(authorityId);
    const authority = this.#dependencies.authorities.all().find(({ id }) => id === authorityId);
    if (stored === undefined || authority === undefined || !this.#handsOut(authority))
      return Promise.reject(
        new PkiError('NOT_FOUND', `no authority ${authorityId} publishes a CRL here`),
      );
    return Promise.resolve(stored.crl.der);
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
    const older = of.filter((each) => this.#stored.get(each.id)?.crl.der.equals(crl.raw) !== true);
    for (const authority of older)
      await this.#intake.requireNewer(authority, crl, this.#stored.get(authority.id)?.crl);
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

  /** The state of each CRL that consumers may need now, in the order of the authorities. */
  standings(): readonly CrlStanding[] {
    const { authorities, clock } = this.#dependencies;
    const now = clock.now();
    const all = authorities.all();
    return all
      .filter((each) => needsCrl(each, now))
      .map((authority): CrlStanding => {
        const stored = this.#stored.get(authority.id);
        return {
          authorityId: authority.id,
          source: hasOwnKey(authority) ? 'own' : 'external',
          state: crlState(stored?.crl, authority.notAfter, now),
          thisUpdate: stored?.crl.thisUpdate ?? 0,
          nextUpdate: stored?.crl.nextUpdate ?? 0,
          number: stored === undefined ? '' : String(stored.parsed?.number ?? stored.crl.number),
          unlisted:
            stored?.parsed === undefined || hasOwnKey(authority)
              ? []
              : unlistedBelow(authority, stored.parsed, all, now).map(({ id }) => id),
        };
      });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stop) stop();
    this.#cancel?.();
    this.#comparison.close();
    // what is being built ends with its thread
    await this.#workshop.close();
    await this.#working?.catch(() => {});
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#working !== undefined) {
      this.#again = true;
      return;
    }
    this.#cancel?.();
    this.#cancel = this.#dependencies.clock.after(delayMs, () => void this.#round());
  }

  #round(): Promise<void> {
    this.#working ??= this.#work().then((failed) => {
      this.#working = undefined;
      const next = this.#again ? afterChangeMs : failed ? retryMs : lookEveryMs;
      this.#again = false;
      this.#soon(next);
    });
    return this.#working;
  }

  /** Resolves with true if something failed. */
  async #work(): Promise<boolean> {
    const { authorities, logger } = this.#dependencies;
    let failed = false;
    const now = this.#dependencies.clock.now();
    for (const authority of authorities.all()) {
      if (!publishesCrl(authority) || hasEnded(authority, now)) continue;
      if (this.#closed) return false;
      try {
        await this.#bring(authority);
      } catch (thrown) {
        const error = PkiError.from(thrown);
        if (error.code === 'SHUTTING_DOWN') return false;
        failed = true;
        logger.error(
          { authority: authority.id, kind: authority.kind, ...errorFields(error) },
          'a CRL could not be signed',
        );
      }
    }
    this.#assemble();
    // do not wait for a CRL that an authority of another CA has to sign
    return (
      failed ||
      (this.#incompleteSince !== undefined &&
        this.#dependencies.clock.now() - this.#incompleteSince <= graceSeconds)
    );
  }

  async #bring(authority: Authority): Promise<void> {
    const { clock, lifeSeconds } = this.#dependencies;
    const now = clock.now();
    const below = this.#signer.below(authority, now);
    const stored = this.#stored.get(authority.id);
    const unlisted =
      stored !== undefined && (await this.#unlisted({ authority, stored, below, now }));
    const { notAfter } = authority;
    if (!crlIsDue({ stored: stored?.crl, unlisted, lifeSeconds, notAfter, now })) return;
    const { crl, mark } = await this.#signer.sign(authority, below, now);
    const covers = { mark, below: serialsOf(below) };
    this.#stored.set(authority.id, { crl, parsed: undefined, covers });
    this.#comparison.soon();
  }

  /** Whether somebody is revoked and valid who is not on the CRL of an authority of ours. */
  async #unlisted(of: {
    readonly authority: Authority;
    readonly stored: Kept;
    readonly below: readonly CrlContent[];
    readonly now: number;
  }): Promise<boolean> {
    const { authority, stored, below } = of;
    const now = this.#signer.validFrom(of.now);
    const valid = ({ notAfter }: { readonly notAfter: number }): boolean => notAfter >= now;
    const { covers, crl } = stored;
    if (covers !== undefined) {
      const { entries, anew } = this.#dependencies.store.since(authority.id, covers.mark);
      if (!anew)
        return (
          entries.some(valid) ||
          !below.filter(valid).every(({ serial }) => covers.below.has(serial))
        );
    }
    const ask = { authorityId: authority.id, der: crl.der, below, now };
    const read = await this.#workshop.unlisted(ask);
    if (!read.unlisted)
      this.#stored.set(authority.id, {
        ...stored,
        covers: { mark: read.mark, below: serialsOf(below.filter(valid)) },
      });
    return read.unlisted;
  }

  #handsOut(authority: Authority): boolean {
    return publishesCrl(authority) || takesCrl(authority, this.#dependencies.authorities.all());
  }

  /** One of ours is looked at before it is kept on: see `#unlisted`. */
  #keepStored(crl: StoredCrl): void {
    const authority = this.#dependencies.authorities.all().find(({ id }) => id === crl.authorityId);
    if (authority !== undefined && hasOwnKey(authority)) {
      this.#stored.set(crl.authorityId, { crl, parsed: undefined, covers: undefined });
      return;
    }
    const parsed = parseCrl(crl.der);
    if (parsed.ok) this.#keepForeign(crl, parsed.value);
  }

  #keepForeign(crl: StoredCrl, parsed: ParsedCrl): void {
    this.#stored.set(crl.authorityId, { crl, parsed, covers: undefined });
  }

  #assemble(): void {
    const { authorities, clock, logger } = this.#dependencies;
    const now = clock.now();
    // of names, no agent or workload is told: their CRLs are published over HTTP alone
    const all = authorities.all().filter(({ kind }) => !isNamesAuthority(kind));
    // by a clock that is not believed no CRL has expired
    const from = this.#signer.validFrom(now);
    const current = (id: string): boolean => (this.#stored.get(id)?.crl.nextUpdate ?? 0) > from;
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
      set.every((crl, index) => crl.der.equals(this.#set[index]?.der as Buffer))
    )
      return;
    this.#set = set.map(({ authorityId, der, nextUpdate }) => ({ authorityId, der, nextUpdate }));
    for (const listener of this.#listeners) listener();
  }

  /**
   * Hands out a CRL once if it belongs to two records (a certificate issued anew for the same key).
   */
  #distinct(authorities: readonly Authority[]): readonly StoredCrl[] {
    const crls = authorities.map(({ id }) => (this.#stored.get(id) as Kept).crl);
    return crls.filter(
      ({ der }, index) => crls.findIndex((other) => other.der.equals(der)) === index,
    );
  }
}

const serialsOf = (content: readonly CrlContent[]): ReadonlySet<string> =>
  new Set(content.map(({ serial }) => serial));
