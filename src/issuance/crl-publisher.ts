import { PkiError, unwrap } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import {
  checkCrlSignature,
  parseCertificate,
  parseCrl,
  sha256Hex,
  type ParsedCrl,
} from '../common/x509/index.ts';
import { assembleSigned, buildCrlTbs, lintCrl } from '../certs/index.ts';
import {
  crlIsDue,
  crlState,
  hasOwnKey,
  needsCrl,
  publishesCrl,
  takesCrl,
  type Authority,
  type CrlContent,
  type CrlStanding,
  type StoredCrl,
  type TokenRole,
} from '../domain/index.ts';
import type { Signers } from '../hsm/signing-port.ts';
import type { TokenAdmin } from '../hsm/token-port.ts';
import type { LedgerRevocations } from '../ledger/index.ts';
import { checkExternalCrl, unlistedBelow, type ImportedCrl } from './crl-import.ts';

export interface CrlPublisherDependencies {
  readonly authorities: { all(): readonly Authority[]; onChange(listener: () => void): () => void };
  readonly store: Pick<
    LedgerRevocations,
    'list' | 'saveCrl' | 'crls' | 'highestCrlNumber' | 'issuerCrlNumber'
  >;
  readonly onRevision: (listener: () => void) => () => void;
  readonly signers: Pick<Signers, 'sign'>;
  /** For the CRLs of roots: opened for as long as one signature takes. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  /** Nothing is written on the strength of the database for now; default no. */
  readonly held?: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * Beyond the longest tolerated outage of the CA: an expired CRL fails every leaf where it is
   * enforced.
   */
  readonly lifeSeconds: number;
  /** How far the clocks of the mesh may differ: a CRL begins that much earlier. */
  readonly clockSkewSeconds: number;
}

export interface PublishedCrl {
  readonly authorityId: string;
  readonly der: Buffer;
  readonly nextUpdate: number;
}

const lookEveryMs = 60_000;
const afterChangeMs = 20;
const retryMs = 5000;
/**
 * While the CRL of an authority that has just begun to sign is under way, the set before is still
 * handed out.
 */
const graceSeconds = 30;

type Kept = StoredCrl & { readonly parsed: ParsedCrl; readonly listed: ReadonlySet<string> };

/**
 * The CRLs of this CA: one of each authority that signs certificates, signed by its own key, kept
 * in the store, signed anew at half of its life and whenever something was revoked. Those of
 * authorities whose key others hold are brought in, checked against their recorded certificate, and
 * kept like the others. Owner of what is handed out: a complete set, one CRL for each authority
 * whose certificates may be in use, or none, since with CRL checking on a chain that lacks one
 * fails as a whole.
 */
export class CrlPublisher {
  readonly #dependencies: CrlPublisherDependencies;
  readonly #stored = new Map<string, Kept>();
  /** What was said last of each CRL, so that a log gets one line for each change. */
  readonly #said = new Map<string, string>();
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
  }

  /**
   * Resolves when every CRL that can be signed now is. One that can not is retried and logged,
   * never thrown.
   */
  async start(): Promise<void> {
    const { authorities, onRevision, store } = this.#dependencies;
    for (const crl of await store.crls()) this.#keep(crl);
    this.#started = true;
    this.#stop = [
      authorities.onChange(() => this.#soon(afterChangeMs)),
      onRevision(() => this.#soon(afterChangeMs)),
    ];
    await this.#round();
  }

  /** The present CRL of an authority in DER. Throws NOT_FOUND. */
  crl(authorityId: string): Promise<Buffer> {
    const stored = this.#stored.get(authorityId);
    const authority = this.#dependencies.authorities.all().find(({ id }) => id === authorityId);
    if (stored === undefined || authority === undefined || !this.#handsOut(authority))
      return Promise.reject(
        new PkiError('NOT_FOUND', `no authority ${authorityId} publishes a CRL here`),
      );
    return Promise.resolve(stored.der);
  }

  /** The complete set, or nothing. One object until something changes. */
  set(): readonly PublishedCrl[] {
    return this.#set;
  }

  /** Called when `set` changed. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Takes in the CRL of an authority whose key is not here. Durable, and part of the set, when this
   * resolves. Throws what `checkExternalCrl` fails with, and CRL_NOT_NEWER; the very CRL that is
   * here already is no error.
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
      throw new PkiError('DATABASE_STALE', 'this server signs nothing yet, and hands out no CRLs');
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
    const older = of.filter((each) => this.#stored.get(each.id)?.der.equals(crl.raw) !== true);
    for (const authority of older) await this.#requireNewer(authority, crl);
    if (!dryRun) {
      for (const authority of older) await this.#take(authority, crl, actor);
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
          'a CRL from outside was taken in',
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

  /** How the CRLs stand that consumers may need now, in the order of the authorities. */
  standings(): readonly CrlStanding[] {
    const { authorities, clock } = this.#dependencies;
    const now = clock.now();
    const all = authorities.all();
    return all.filter(needsCrl).map((authority): CrlStanding => {
      const stored = this.#stored.get(authority.id);
      return {
        authorityId: authority.id,
        source: hasOwnKey(authority) ? 'own' : 'external',
        state: crlState(stored, authority.notAfter, now),
        thisUpdate: stored?.thisUpdate ?? 0,
        nextUpdate: stored?.nextUpdate ?? 0,
        number: stored === undefined ? '' : String(stored.parsed.number),
        unlisted:
          stored === undefined || hasOwnKey(authority)
            ? []
            : unlistedBelow(authority, stored.parsed, all, now).map(({ id }) => id),
      };
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stop) stop();
    this.#cancel?.();
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

  /** Resolves with whether something failed. */
  async #work(): Promise<boolean> {
    const { authorities, logger } = this.#dependencies;
    let failed = false;
    for (const authority of authorities.all().filter(publishesCrl)) {
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
    // one that an authority of somebody else would have to sign is not waited for
    return (
      failed ||
      (this.#incompleteSince !== undefined &&
        this.#dependencies.clock.now() - this.#incompleteSince <= graceSeconds)
    );
  }

  async #bring(authority: Authority): Promise<void> {
    const { clock, lifeSeconds } = this.#dependencies;
    const now = clock.now();
    const content = await this.#contentOf(authority, now);
    const stored = this.#stored.get(authority.id);
    const listed = stored?.listed ?? new Set<string>();
    if (
      !crlIsDue({
        stored,
        listed,
        content: content.filter(({ notAfter }) => notAfter >= now),
        lifeSeconds,
        notAfter: authority.notAfter,
        now,
      })
    )
      return;
    await this.#sign(authority, content, now);
  }

  /**
   * What ended within the last life of a CRL stays on it: it appears at least once after its expiry
   * (RFC 5280 section 3.3).
   */
  async #contentOf(authority: Authority, now: number): Promise<readonly CrlContent[]> {
    const { authorities, store, lifeSeconds } = this.#dependencies;
    const endingFrom = now - lifeSeconds;
    const below = authorities
      .all()
      .filter(
        ({ parentId, state, certificateDer, notAfter }) =>
          parentId === authority.id &&
          state === 'revoked' &&
          certificateDer !== null &&
          notAfter >= endingFrom,
      )
      .map(
        ({ certificateDer, taintedAt, createdAt, notAfter }): CrlContent => ({
          serial: unwrap(parseCertificate(certificateDer as Buffer)).serialHex,
          revokedAt: taintedAt ?? createdAt,
          reason: 'cACompromise',
          notAfter,
        }),
      );
    const leaves = (await store.list(authority.id, endingFrom)).map(
      ({ serial, revokedAt, reason, notAfter }): CrlContent => ({
        serial,
        revokedAt,
        reason: reason === 'unspecified' ? undefined : reason,
        notAfter,
      }),
    );
    return [...below, ...leaves];
  }

  async #sign(authority: Authority, content: readonly CrlContent[], now: number): Promise<void> {
    const { clock, lifeSeconds, clockSkewSeconds, store } = this.#dependencies;
    const issuer = unwrap(parseCertificate(authority.certificateDer as Buffer));
    const thisUpdate = Math.max(now - clockSkewSeconds, issuer.notBefore);
    const nextUpdate = Math.min(now + lifeSeconds, issuer.notAfter);
    if (nextUpdate <= thisUpdate)
      throw new PkiError(
        'ISSUER_LIFETIME',
        `authority ${authority.id} is at its end and signs no CRL any more`,
      );
    // from the clock, so that numbers grow over a restore as well: a backup does not know those
    // that were signed after it
    const number = Math.max(clock.nowMs(), (await store.highestCrlNumber(authority.id)) + 1);
    // The CRL begins earlier than now, for clocks that are behind. An entry later than the CRL would
    // be passed over by some until their clock is there; the record keeps the true time.
    const revoked = content.map(({ serial, revokedAt, reason }) => ({
      serialHex: serial,
      revokedAt: Math.min(revokedAt, thisUpdate),
      ...(reason === undefined ? {} : { reason }),
    }));
    const input = { issuer, number: BigInt(number), thisUpdate, nextUpdate, revoked };
    const tbsDer = buildCrlTbs(input);
    unwrap(lintCrl(tbsDer, input));
    const der = assembleSigned(tbsDer, authority.keyType, await this.#signature(authority, tbsDer));
    // held against the certificate once more: a CRL that does not verify would fail every chain
    // below
    unwrap(checkCrlSignature(unwrap(parseCrl(der)), issuer));
    const crl: StoredCrl = { authorityId: authority.id, number, thisUpdate, nextUpdate, der };
    await store.saveCrl(crl, {
      timeMs: clock.nowMs(),
      actor: 'server',
      kind: 'crl.signed',
      subject: authority.id,
      detail: { number, thisUpdate, nextUpdate, entries: revoked.length, sha256: sha256Hex(der) },
    });
    this.#keep(crl);
  }

  async #signature(authority: Authority, tbsDer: Buffer): Promise<Buffer> {
    if (authority.token === 'issuing') {
      const [outcome] = await this.#dependencies.signers.sign([
        { ckaId: authority.ckaId, bytes: tbsDer, format: 'x509' },
      ]);
      if (outcome === undefined || !outcome.ok)
        throw new PkiError(
          outcome?.code ?? 'HSM_UNAVAILABLE',
          outcome?.message ?? 'the signer gave no answer',
        );
      return outcome.signature;
    }
    const token = await this.#dependencies.openToken(authority.token);
    try {
      return await token.sign(
        {
          ckaId: authority.ckaId,
          keyType: authority.keyType,
          spkiDer: authority.spkiDer as Buffer,
        },
        tbsDer,
      );
    } finally {
      await token.close();
    }
  }

  #handsOut(authority: Authority): boolean {
    return publishesCrl(authority) || takesCrl(authority, this.#dependencies.authorities.all());
  }

  async #requireNewer(authority: Authority, crl: ParsedCrl): Promise<void> {
    const present = await this.#dependencies.store.issuerCrlNumber(authority.id);
    if (crl.number <= present)
      throw new PkiError(
        'CRL_NOT_NEWER',
        `the CRL has number ${crl.number}, and of ${authority.kind} authority ${authority.id} number ${present} is on record`,
      );
    const stored = this.#stored.get(authority.id);
    // a higher number with an earlier date: whoever numbers them has lost count, or this one was
    // kept back
    if (stored !== undefined && crl.thisUpdate < stored.thisUpdate)
      throw new PkiError(
        'CRL_NOT_NEWER',
        `the CRL begins before the one of ${authority.kind} authority ${authority.id} that is here`,
      );
  }

  async #take(authority: Authority, crl: ParsedCrl, actor: string): Promise<void> {
    const { clock, store } = this.#dependencies;
    // ours is counted on where theirs does not fit: the order is what the store has to keep
    const next = (await store.highestCrlNumber(authority.id)) + 1;
    const number =
      crl.number <= BigInt(Number.MAX_SAFE_INTEGER) ? Math.max(next, Number(crl.number)) : next;
    const { thisUpdate, nextUpdate, raw } = crl;
    const stored: StoredCrl = {
      authorityId: authority.id,
      number,
      thisUpdate,
      nextUpdate,
      der: raw,
    };
    await store.saveCrl(stored, {
      timeMs: clock.nowMs(),
      actor,
      kind: 'crl.imported',
      subject: authority.id,
      detail: {
        number,
        crlNumber: String(crl.number),
        thisUpdate,
        nextUpdate,
        entries: crl.revoked.size,
        sha256: sha256Hex(raw),
      },
    });
    this.#keep(stored);
  }

  #keep(crl: StoredCrl): void {
    const parsed = parseCrl(crl.der);
    // one that somebody spoiled in the database counts as none, and is signed anew
    if (!parsed.ok) return;
    this.#stored.set(crl.authorityId, {
      ...crl,
      parsed: parsed.value,
      listed: new Set(parsed.value.revoked.keys()),
    });
  }

  #assemble(): void {
    const { authorities, clock, logger } = this.#dependencies;
    const now = clock.now();
    const all = authorities.all();
    const current = (id: string): boolean => (this.#stored.get(id)?.nextUpdate ?? 0) > now;
    const missing = all.filter((authority) => needsCrl(authority) && !current(authority.id));
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
    this.#warn(now);
    if (
      set.length === this.#set.length &&
      set.every((crl, index) => crl.der.equals(this.#set[index]?.der as Buffer))
    )
      return;
    this.#set = set.map(({ authorityId, der, nextUpdate }) => ({ authorityId, der, nextUpdate }));
    for (const listener of this.#listeners) listener();
  }

  /**
   * One that is of two records, of a certificate that was issued anew for the same key, goes out
   * once.
   */
  #distinct(authorities: readonly Authority[]): readonly StoredCrl[] {
    return [
      ...new Map(
        authorities
          .map(({ id }) => this.#stored.get(id) as StoredCrl)
          .map((crl) => [crl.der.toString('latin1'), crl]),
      ).values(),
    ];
  }

  /**
   * Before it is too late, and once for each change: that a CRL which has to come from others ends
   * soon, or has ended.
   */
  #warn(now: number): void {
    const { logger } = this.#dependencies;
    for (const { authorityId, source, state, nextUpdate, unlisted } of this.standings()) {
      const said = `${state} ${nextUpdate} ${unlisted.join()}`;
      if (this.#said.get(authorityId) === said) continue;
      this.#said.set(authorityId, said);
      if (unlisted.length > 0)
        logger.warn(
          { authority: authorityId, unlisted },
          'the CRL of an authority of others does not name what was revoked here below it; have it revoked there as well',
        );
      if (state === 'current' || state === 'missing') continue;
      const next =
        source === 'own'
          ? 'it is signed anew when its key can be used'
          : 'fetch the next one from its authority, then: meshca authority import-crl FILE';
      logger.warn(
        { authority: authorityId, source, endsInSeconds: nextUpdate - now, next, alert: true },
        state === 'expired' ? 'a CRL has ended: no CRLs are handed out' : 'a CRL ends soon',
      );
    }
  }
}
