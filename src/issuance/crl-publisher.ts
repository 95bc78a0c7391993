import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import { checkCrlSignature, parseCertificate, parseCrl, sha256Hex } from '../common/x509/index.ts';
import { assembleSigned, buildCrlTbs, lintCrl } from '../certs/index.ts';
import { crlIsDue, needsCrl, publishesCrl, type Authority, type CrlContent, type StoredCrl, type TokenRole } from '../domain/index.ts';
import type { Signers, TokenAdmin } from '../hsm/contract.ts';
import type { RevocationStore } from '../store/contract.ts';

export interface CrlPublisherDependencies {
  readonly authorities: { all(): readonly Authority[]; onChange(listener: () => void): () => void };
  readonly store: Pick<RevocationStore, 'list' | 'saveCrl' | 'crls' | 'highestCrlNumber'>;
  readonly onRevision: (listener: () => void) => () => void;
  readonly signers: Pick<Signers, 'sign'>;
  /** For the CRLs of roots: opened for as long as one signature takes. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Beyond the longest tolerated outage of the CA: an expired CRL fails every leaf where it is enforced. */
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
/** While the CRL of an authority that has just begun to sign is under way, the set before is still handed out. */
const graceSeconds = 30;

/**
 * The CRLs of this CA: one of each authority that signs certificates, signed by its own key, kept in the store, signed anew at
 * half of its life and whenever something was revoked. Owner of what is handed out: a complete set, one CRL for each authority
 * whose certificates may be in use, or none, since with CRL checking on a chain that lacks one fails as a whole.
 */
export class CrlPublisher {
  readonly #dependencies: CrlPublisherDependencies;
  readonly #stored = new Map<string, StoredCrl & { readonly listed: ReadonlySet<string> }>();
  readonly #listeners = new Set<() => void>();
  #set: readonly PublishedCrl[] = [];
  #incompleteSince: number | undefined;
  #stop: (() => void)[] = [];
  #cancel: (() => void) | undefined;
  #working: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(dependencies: CrlPublisherDependencies) {
    this.#dependencies = dependencies;
  }

  /** Resolves when every CRL that can be signed now is. One that can not is retried and logged, never thrown. */
  async start(): Promise<void> {
    const { authorities, onRevision, store } = this.#dependencies;
    for (const crl of await store.crls()) this.#keep(crl);
    this.#stop = [authorities.onChange(() => this.#soon(afterChangeMs)), onRevision(() => this.#soon(afterChangeMs))];
    await this.#round();
  }

  /** The present CRL of an authority in DER. Throws NOT_FOUND. */
  crl(authorityId: string): Promise<Buffer> {
    const stored = this.#stored.get(authorityId);
    const authority = this.#dependencies.authorities.all().find(({ id }) => id === authorityId);
    if (stored === undefined || authority === undefined || !publishesCrl(authority)) return Promise.reject(new PkiError('NOT_FOUND', `no authority ${authorityId} publishes a CRL here`));
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
        logger.error({ authority: authority.id, kind: authority.kind, code: error.code, error: error.message }, 'a CRL could not be signed');
      }
    }
    this.#assemble();
    // one that an authority of somebody else would have to sign is not waited for
    return failed || (this.#incompleteSince !== undefined && this.#dependencies.clock.now() - this.#incompleteSince <= graceSeconds);
  }

  async #bring(authority: Authority): Promise<void> {
    const { clock, lifeSeconds } = this.#dependencies;
    const now = clock.now();
    const content = await this.#contentOf(authority, now);
    const stored = this.#stored.get(authority.id);
    const listed = stored?.listed ?? new Set<string>();
    if (!crlIsDue({ stored, listed, content: content.filter(({ notAfter }) => notAfter >= now), lifeSeconds, notAfter: authority.notAfter, now })) return;
    await this.#sign(authority, content, now);
  }

  /** What ended within the last life of a CRL stays on it: it appears at least once after its expiry (RFC 5280 section 3.3). */
  async #contentOf(authority: Authority, now: number): Promise<readonly CrlContent[]> {
    const { authorities, store, lifeSeconds } = this.#dependencies;
    const endingFrom = now - lifeSeconds;
    const below = authorities.all().filter(({ parentId, state, certificateDer, notAfter }) => parentId === authority.id && state === 'revoked' && certificateDer !== null && notAfter >= endingFrom)
      .map(({ certificateDer, taintedAt, createdAt, notAfter }): CrlContent => ({ serial: unwrap(parseCertificate(certificateDer as Buffer)).serialHex, revokedAt: taintedAt ?? createdAt, reason: 'cACompromise', notAfter }));
    const leaves = (await store.list(authority.id, endingFrom)).map(({ serial, revokedAt, reason, notAfter }): CrlContent => ({ serial, revokedAt, reason: reason === 'unspecified' ? undefined : reason, notAfter }));
    return [...below, ...leaves];
  }

  async #sign(authority: Authority, content: readonly CrlContent[], now: number): Promise<void> {
    const { clock, lifeSeconds, clockSkewSeconds, store } = this.#dependencies;
    const issuer = unwrap(parseCertificate(authority.certificateDer as Buffer));
    const thisUpdate = Math.max(now - clockSkewSeconds, issuer.notBefore);
    const nextUpdate = Math.min(now + lifeSeconds, issuer.notAfter);
    if (nextUpdate <= thisUpdate) throw new PkiError('ISSUER_LIFETIME', `authority ${authority.id} is at its end and signs no CRL any more`);
    // from the clock, so that numbers grow over a restore as well: a backup does not know those that were signed after it
    const number = Math.max(clock.nowMs(), (await store.highestCrlNumber(authority.id)) + 1);
    const revoked = content.map(({ serial, revokedAt, reason }) => ({ serialHex: serial, revokedAt, ...(reason === undefined ? {} : { reason }) }));
    const input = { issuer, number: BigInt(number), thisUpdate, nextUpdate, revoked };
    const tbsDer = buildCrlTbs(input);
    unwrap(lintCrl(tbsDer, input));
    const der = assembleSigned(tbsDer, authority.keyType, await this.#signature(authority, tbsDer));
    // held against the certificate once more: a CRL that does not verify would fail every chain below
    unwrap(checkCrlSignature(unwrap(parseCrl(der)), issuer));
    const crl: StoredCrl = { authorityId: authority.id, number, thisUpdate, nextUpdate, der };
    await store.saveCrl(crl, { timeMs: clock.nowMs(), actor: 'server', kind: 'crl.signed', subject: authority.id, detail: { number, thisUpdate, nextUpdate, entries: revoked.length, sha256: sha256Hex(der) } });
    this.#keep(crl);
  }

  async #signature(authority: Authority, tbsDer: Buffer): Promise<Buffer> {
    if (authority.token === 'issuing') {
      const [outcome] = await this.#dependencies.signers.sign([{ ckaId: authority.ckaId, bytes: tbsDer, format: 'x509' }]);
      if (outcome === undefined || !outcome.ok) throw new PkiError(outcome?.code ?? 'HSM_UNAVAILABLE', outcome?.message ?? 'the signer gave no answer');
      return outcome.signature;
    }
    const token = await this.#dependencies.openToken(authority.token);
    try {
      return await token.sign({ ckaId: authority.ckaId, keyType: authority.keyType, spkiDer: authority.spkiDer as Buffer }, tbsDer);
    } finally {
      await token.close();
    }
  }

  #keep(crl: StoredCrl): void {
    const parsed = parseCrl(crl.der);
    // one that somebody spoiled in the database counts as none, and is signed anew
    if (!parsed.ok) return;
    this.#stored.set(crl.authorityId, { ...crl, listed: new Set(parsed.value.revoked.keys()) });
  }

  #assemble(): void {
    const { authorities, clock, logger } = this.#dependencies;
    const now = clock.now();
    const all = authorities.all();
    const current = (id: string): boolean => (this.#stored.get(id)?.nextUpdate ?? 0) > now;
    const missing = all.filter((authority) => needsCrl(authority) && !current(authority.id));
    if (missing.length > 0) {
      if (this.#incompleteSince === undefined) logger.warn({ missing: missing.map(({ id, kind }) => `${kind}/${id}`) }, 'the set of CRLs is not complete');
      this.#incompleteSince ??= now;
      if (now - this.#incompleteSince < graceSeconds) return;
    } else this.#incompleteSince = undefined;
    const set = missing.length > 0 ? [] : all.filter((authority) => publishesCrl(authority) && current(authority.id)).map(({ id }) => this.#stored.get(id) as StoredCrl);
    if (set.length === this.#set.length && set.every((crl, index) => crl.der.equals(this.#set[index]?.der as Buffer))) return;
    this.#set = set.map(({ authorityId, der, nextUpdate }) => ({ authorityId, der, nextUpdate }));
    for (const listener of this.#listeners) listener();
  }
}
