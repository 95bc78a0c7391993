import { PkiError, unwrap } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import { parseCertificate, sha256Hex } from '../common/x509/index.ts';
import {
  crossOf,
  hasEnded,
  hasOwnKey,
  isIssuingKind,
  isBesideMesh,
  isNamesAuthority,
  isRootKind,
  isTrusted,
  maySign,
  type Authority,
  type AuthorityScope,
  type BundleRevision,
  type CertificateKind,
} from '../domain/index.ts';
import type { Signers } from '../hsm/signing-port.ts';
import type { ObjectLedger } from '../ledger/index.ts';
import type { AuthorityStore, BundleStore } from '../store/ports/index.ts';
import type { Authorities } from './authorities.ts';
import type { IssuerView } from './leaf/prepare.ts';

export interface RegistryDependencies {
  readonly authorities: Pick<AuthorityStore, 'list'>;
  readonly bundles: Pick<BundleStore, 'latest'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'prove' | 'announceAbsent'>;
  readonly signers: Pick<Signers, 'useKey' | 'forgetKey'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
  /**
   * SHA-256 of the public keys of authorities that have no certificate yet. Its owner adds to it.
   */
  readonly requestedKeys?: ReadonlySet<string>;
  /** Whether chains end with the cross-certificates of their root. Default: no. */
  readonly crossCertificates?: boolean;
  /** Whether certificates for names are issued. Default: no. */
  readonly names?: boolean;
  /** The place of this server, for authorities that sign in one replica or region only. */
  readonly place?: { readonly replica?: string | undefined; readonly region?: string | undefined };
}

/** Holds what this process knows of the authorities. Callers `refresh` it after each transition. */
export class AuthorityRegistry implements Authorities {
  readonly #dependencies: RegistryDependencies;
  readonly #listeners = new Set<() => void>();
  readonly #loadedKeys = new Set<string>();
  #missingKeys = false;
  #all: readonly Authority[] = [];
  #issuers: Readonly<Record<'issuing' | 'names-issuing', readonly IssuerView[]>> = {
    issuing: [],
    'names-issuing': [],
  };
  #chains = new Map<string, readonly Buffer[]>();
  #published:
    | readonly { readonly authorityId: string; readonly chainDer: readonly Buffer[] }[]
    | undefined;
  #keyDigests = new Set<string>();
  #bundle: BundleRevision | undefined;
  #fingerprint = '';

  constructor(dependencies: RegistryDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Reads the authorities and the bundle again, and loads their keys into the signers.
   *
   * @throws PkiError HSM_* if a key is missing, OBJECT_NOT_IN_LOG
   */
  async refresh(): Promise<void> {
    const [authorities, newestBundle] = await Promise.all([
      this.#dependencies.authorities.list(),
      this.#dependencies.bundles.latest(),
    ]);
    const { objects } = this.#dependencies;
    // At the start, a row that was changed past the log is an error. Later the last good state stays.
    if (this.#all.length === 0) for (const row of authorities) objects.require('authority', row);
    const all = this.#proven(authorities);
    const bundle = this.#provenBundle(newestBundle);
    const fingerprint = `${bundle?.sequence ?? 0}|${all.map((authority) => `${authority.id}:${authority.version}`).join(',')}`;
    if (fingerprint === this.#fingerprint && !this.#missingKeys) return;
    await this.#loadKeys(all);
    this.#all = all;
    this.#bundle = bundle;
    this.#keyDigests = new Set(
      all.flatMap((authority) =>
        authority.spkiDer === null ? [] : [sha256Hex(authority.spkiDer)],
      ),
    );
    this.#issuers = {
      issuing: issuersOf(all, 'issuing'),
      'names-issuing': this.#dependencies.names === true ? issuersOf(all, 'names-issuing') : [],
    };
    this.#chains = new Map();
    this.#published = undefined;
    this.#fingerprint = fingerprint;
    for (const listener of this.#listeners) listener();
  }

  /**
   * The rows that the log vouches for. In the place of one that was changed or taken away stands the
   * authority as it was read before, as long as the log vouches for that: otherwise whoever writes to
   * the database could end the trust in a root. An authority that has moved since is not known any
   * more: then the last good state stays as a whole.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  #proven(rows: readonly Authority[]): readonly Authority[] {
    const { objects } = this.#dependencies;
    const byId = new Map(rows.map((row) => [row.id, row] as const));
    const ofRow = (id: string): Authority | undefined => {
      const row = byId.get(id);
      if (row !== undefined) return objects.prove('authority', row);
      objects.announceAbsent('authority', id);
      return undefined;
    };
    const known = new Set(this.#all.map(({ id }) => id));
    return [
      ...this.#all.map((before) => ofRow(before.id) ?? objects.require('authority', before)),
      ...rows.flatMap((row) => (known.has(row.id) ? [] : (objects.prove('authority', row) ?? []))),
    ];
  }

  /** A bundle follows each one before: where the newest row was taken away, the bundle stays. */
  #provenBundle(row: BundleRevision | undefined): BundleRevision | undefined {
    const { objects } = this.#dependencies;
    const before = this.#bundle;
    if (before !== undefined && (row?.sequence ?? 0) < before.sequence) {
      objects.announceAbsent('bundle', String(before.sequence));
      return before;
    }
    if (row !== undefined) objects.require('bundle', row);
    return row;
  }

  all(): readonly Authority[] {
    return this.#all;
  }

  rootsDer(): readonly Buffer[] {
    return this.#trustedRoots('root');
  }

  namesRootsDer(): readonly Buffer[] {
    return this.#trustedRoots('names-root');
  }

  #trustedRoots(kind: 'root' | 'names-root'): readonly Buffer[] {
    return this.#all
      .filter(
        (authority) =>
          authority.kind === kind &&
          isTrusted(authority.state) &&
          authority.certificateDer !== null,
      )
      .map((authority) => authority.certificateDer as Buffer);
  }

  issuing(scope: { readonly nodeSelectors?: readonly string[] } = {}): Authority | undefined {
    return this.#pick(this.#issuers.issuing, scope.nodeSelectors ?? [])?.authority;
  }

  issuerFor(request: {
    readonly kind: CertificateKind;
    readonly nodeSelectors?: readonly string[];
    readonly holder: string;
  }): IssuerView | undefined {
    const issuers = this.#issuers[request.kind === 'endpoint' ? 'names-issuing' : 'issuing'];
    return this.#pick(issuers, request.nodeSelectors ?? [], request.holder);
  }

  /** The newest active JWT authority. */
  jwt(): Authority | undefined {
    return this.#all
      .filter((authority) => authority.kind === 'jwt' && maySign(authority.state))
      .at(-1);
  }

  chainDer(authorityId: string): readonly Buffer[] {
    const known = this.#chains.get(authorityId);
    if (known !== undefined) return known;
    const chain = this.#plainChain(authorityId);
    const root = this.rootOf(authorityId);
    // whoever relies on names never confirms the next root, and may read it later
    const crosses = this.#dependencies.crossCertificates === true || root?.kind === 'names-root';
    if (crosses && root !== undefined) {
      // skip cross-certificates of a tainted root: consumers that do not know of the taint would
      // accept them
      for (const cross of crossOf(root, this.#all))
        if (['active', 'old'].includes(this.#byId(cross.parentId)?.state ?? ''))
          chain.push(cross.certificateDer as Buffer);
    }
    this.#chains.set(authorityId, chain);
    return chain;
  }

  rootOf(authorityId: string): Authority | undefined {
    let at = this.#byId(authorityId);
    while (at !== undefined && !isRootKind(at.kind)) at = this.#byId(at.parentId);
    return at;
  }

  bundle(): BundleRevision {
    if (this.#bundle === undefined) throw new PkiError('NO_ISSUER', 'there is no trust bundle yet');
    return this.#bundle;
  }

  published(): readonly { readonly authorityId: string; readonly chainDer: readonly Buffer[] }[] {
    this.#published ??= this.#all
      .filter(
        (authority) =>
          authority.kind === 'issuing' &&
          hasOwnKey(authority) &&
          (authority.state === 'published' || authority.state === 'active'),
      )
      .map(({ id }) => ({ authorityId: id, chainDer: this.#plainChain(id) }));
    return this.#published;
  }

  tainted(): readonly Authority[] {
    return this.#all.filter(({ kind, state }) => state === 'tainted' && !isNamesAuthority(kind));
  }

  isAuthorityKey(publicKeySha256: string): boolean {
    return (
      this.#keyDigests.has(publicKeySha256) ||
      this.#dependencies.requestedKeys?.has(publicKeySha256) === true
    );
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #plainChain(authorityId: string): Buffer[] {
    const chain: Buffer[] = [];
    for (
      let at = this.#byId(authorityId);
      at !== undefined && isIssuingKind(at.kind);
      at = this.#byId(at.parentId)
    )
      chain.push(at.certificateDer as Buffer);
    return chain;
  }

  #byId(id: string | null): Authority | undefined {
    return id === null ? undefined : this.#all.find((authority) => authority.id === id);
  }

  /**
   * A living authority wins over one that has ended and signs nothing. A scoped one that applies
   * wins over an unscoped one. Among equals the newest wins.
   */
  #pick(
    issuers: readonly IssuerView[],
    nodeSelectors: readonly string[],
    holder = '',
  ): IssuerView | undefined {
    const { place, clock } = this.#dependencies;
    const [first] = issuers;
    if (first !== undefined && issuers.length === 1)
      return applies(first.authority.scope, nodeSelectors, holder, place) ? first : undefined;
    const now = clock.now();
    const applying = issuers.filter(({ authority }) =>
      applies(authority.scope, nodeSelectors, holder, place),
    );
    const living = applying.filter(({ authority }) => !hasEnded(authority, now));
    const fitting = living.length > 0 ? living : applying;
    return (
      fitting.findLast(({ authority }) => Object.keys(authority.scope).length > 0) ?? fitting.at(-1)
    );
  }

  async #loadKeys(all: readonly Authority[]): Promise<void> {
    this.#missingKeys = false;
    for (const authority of all) {
      if (
        (authority.token !== 'issuing' && authority.token !== 'standby') ||
        authority.spkiDer === null
      )
        continue;
      const wanted = isTrusted(authority.state);
      if (wanted && !this.#loadedKeys.has(authority.ckaId)) {
        try {
          await this.#dependencies.signers.useKey({
            ckaId: authority.ckaId,
            keyType: authority.keyType,
            spkiDer: authority.spkiDer,
            token: authority.token,
          });
        } catch (thrown) {
          const { code } = PkiError.from(thrown);
          // A missing key of a standby, of a retired authority or of names must not stop the mesh. An
          // unreachable token may come back. A reachable token without the key is the wrong token.
          if (
            authority.token !== 'standby' &&
            !isBesideMesh(authority.kind) &&
            authority.state === 'active' &&
            code !== 'HSM_UNAVAILABLE'
          )
            throw thrown;
          this.#missingKeys = true;
          this.#dependencies.logger.warn(
            {
              ...errorFields(thrown),
              authority: authority.id,
              kind: authority.kind,
              token: authority.token,
              alert: true,
            },
            'the key of an authority can not be used; trying again',
          );
          continue;
        }
        this.#loadedKeys.add(authority.ckaId);
      } else if (!wanted && this.#loadedKeys.delete(authority.ckaId)) {
        await this.#dependencies.signers.forgetKey(authority.ckaId);
      }
    }
  }
}

const issuersOf = (
  all: readonly Authority[],
  kind: 'issuing' | 'names-issuing',
): readonly IssuerView[] =>
  all
    .filter(
      (authority) =>
        authority.kind === kind &&
        hasOwnKey(authority) &&
        maySign(authority.state) &&
        authority.certificateDer !== null,
    )
    .map((authority) => ({
      authority,
      certificate: unwrap(parseCertificate(authority.certificateDer as Buffer)),
    }));

function applies(
  scope: AuthorityScope,
  nodeSelectors: readonly string[],
  holder: string,
  place: RegistryDependencies['place'],
): boolean {
  if (scope.replica !== undefined && scope.replica !== place?.replica) return false;
  if (scope.region !== undefined && scope.region !== place?.region) return false;
  if (
    scope.selectors !== undefined &&
    !scope.selectors.every((selector) => nodeSelectors.includes(selector))
  )
    return false;
  // a node always falls on the same side of a share
  return (
    scope.share === undefined ||
    Number.parseInt(sha256Hex(Buffer.from(holder)).slice(0, 8), 16) / 0x1_0000_0000 < scope.share
  );
}
