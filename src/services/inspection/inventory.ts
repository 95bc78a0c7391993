import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import {
  isDnsScope,
  wholeTrustDomain,
  type Authority,
  type AuthorityKind,
  type AuthorityState,
  type CertificateRecord,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type {
  AuthorityStore,
  CertificateFilter,
  CertificateStore,
  MetaStore,
  Page,
  PageRequest,
} from '../../store/ports/index.ts';
import { visiblePage, type Access } from '../callers/access.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type {
  AuthorityView,
  AuthorityViews,
  BundleView,
  Certificates,
  Status,
  StatusView,
} from '../services.ts';
import { targetOfRecord } from './record-target.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';

export interface InventoryDependencies {
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

export interface AuthorityViewDependencies extends InventoryDependencies {
  readonly store: Pick<AuthorityStore, 'byId' | 'list'>;
  readonly certificates: Pick<CertificateStore, 'countLive'>;
  readonly authorities: Pick<Authorities, 'rootsDer' | 'bundle'>;
}

/**
 * Views of authorities and the bundle. They are public facts: a role with authority.read on any
 * prefix sees all.
 */
export class AuthorityViewService implements AuthorityViews {
  readonly #dependencies: AuthorityViewDependencies;

  constructor(dependencies: AuthorityViewDependencies) {
    this.#dependencies = dependencies;
  }

  list(
    caller: OperatorCaller,
    filter: { readonly kind?: AuthorityKind; readonly state?: AuthorityState },
  ): Promise<readonly AuthorityView[]> {
    return this.#reading(caller, 'ListAuthorities', undefined, async () => {
      const { kind, state } = filter;
      const page = await this.#dependencies.store.list({
        ...(kind === undefined ? {} : { kind }),
        ...(state === undefined ? {} : { states: [state] }),
      });
      return Promise.all(page.map((authority) => this.#view(authority)));
    });
  }

  get(caller: OperatorCaller, id: string): Promise<AuthorityView> {
    return this.#reading(caller, 'GetAuthority', id.slice(0, 64), async () => {
      const authority = await this.#dependencies.store.byId(id);
      if (authority === undefined)
        throw new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
      return this.#view(authority);
    });
  }

  bundle(caller: OperatorCaller): Promise<BundleView> {
    return this.#reading(caller, 'GetBundle', undefined, () => {
      const rootsDer = this.#dependencies.authorities.rootsDer();
      return Promise.resolve({
        trustDomainName: this.#dependencies.settings.trustDomain.name,
        rootsDer,
        bundle: this.#dependencies.authorities.bundle(),
        fingerprints: rootsDer.map(sha256Hex),
      });
    });
  }

  #reading<T>(
    caller: OperatorCaller,
    operation: OperationName,
    subject: string | undefined,
    act: () => Promise<T>,
  ): Promise<T> {
    return refusing(this.#dependencies.refusals, { caller, operation, subject }, async () => {
      (await this.#dependencies.access.of(caller)).require('authority.read', { kind: 'none' });
      return act();
    });
  }

  async #view(authority: Authority): Promise<AuthorityView> {
    return {
      authority,
      liveCertificates: await this.#dependencies.certificates.countLive(
        { authorityId: authority.id },
        this.#dependencies.clock.now(),
      ),
    };
  }
}

export interface CertificateDependencies extends InventoryDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial' | 'list'>;
}

/** The certificates that one prefix of a role can cover. */
const narrowing = (scope: string): CertificateFilter =>
  isDnsScope(scope)
    ? { kind: 'endpoint' }
    : scope.endsWith('/')
      ? { spiffeIdPrefix: scope }
      : { spiffeId: scope };

/** The issued certificates. A role sees the certificates of identities below its prefixes. */
export class CertificateService implements Certificates {
  readonly #dependencies: CertificateDependencies;

  constructor(dependencies: CertificateDependencies) {
    this.#dependencies = dependencies;
  }

  list(
    caller: OperatorCaller,
    filter: CertificateFilter,
    order: 'created' | 'newest' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ListCertificates' },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('certificate.read', { kind: 'none' });
        const prefixes = rights.prefixes('certificate.read');
        // With one prefix, the database narrows the list. Each result is still checked.
        const only =
          prefixes?.length === 1 &&
          prefixes[0] !== wholeTrustDomain(this.#dependencies.settings.trustDomain) &&
          filter.spiffeId === undefined &&
          filter.spiffeIdPrefix === undefined &&
          filter.kind === undefined
            ? prefixes[0]
            : undefined;
        const narrowed = only === undefined ? filter : { ...filter, ...narrowing(only) };
        // certificates of authorities have no path: they are visible only to roles on the whole
        // trust domain
        const seesAll = rights.permits('certificate.read', this.#dependencies.access.all);
        return visiblePage(
          (next) => this.#dependencies.certificates.list(narrowed, order, next),
          (record) => seesAll || rights.permits('certificate.read', targetOfRecord(record)),
          checkPage(page),
        );
      },
    );
  }

  get(caller: OperatorCaller, serial: string): Promise<CertificateRecord> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'GetCertificate', subject: serial.slice(0, 64) },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('certificate.read', { kind: 'none' });
        const record = await this.#dependencies.certificates.bySerial(serial.toLowerCase());
        const visible =
          record !== undefined &&
          (rights.permits('certificate.read', this.#dependencies.access.all) ||
            rights.permits('certificate.read', targetOfRecord(record)));
        if (!visible)
          throw new PkiError(
            'NOT_FOUND',
            `there is no certificate with the serial ${JSON.stringify(serial.slice(0, 64))}`,
          );
        return record;
      },
    );
  }
}

/** Facts that the process knows of itself. The composition provides them. */
export interface ServerFacts {
  startedAt(): number;
  readiness(): { readonly ready: boolean; readonly reasons: readonly string[] };
  hsmStatus(): string;
  serverCertificateNotAfter(): number;
  /** DER of the root that the server's certificate chains to; undefined while it has none. */
  serverRootDer(): Buffer | undefined;
}

export interface StatusDependencies extends InventoryDependencies {
  readonly facts: ServerFacts;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly certificates: Pick<CertificateStore, 'countByState' | 'countLive'>;
  readonly sessions: { connectedCount(): number };
}

export class StatusService implements Status {
  readonly #dependencies: StatusDependencies;

  constructor(dependencies: StatusDependencies) {
    this.#dependencies = dependencies;
  }

  get(caller: OperatorCaller): Promise<StatusView> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'GetStatus' }, async () => {
      (await this.#dependencies.access.of(caller)).require('server.read', { kind: 'none' });
      const { facts, settings } = this.#dependencies;
      const { certificates, clock, meta } = this.#dependencies;
      // intents that are under way, or that were found after a crash and are possibly live
      const [position, counts, abandoned] = await Promise.all([
        meta.position(),
        certificates.countByState(),
        certificates.countLive({ state: 'abandoned' }, clock.now()),
      ]);
      return {
        version: settings.serverVersion,
        trustDomainName: settings.trustDomain.name,
        startedAt: facts.startedAt(),
        ...facts.readiness(),
        hsmStatus: facts.hsmStatus(),
        agentsConnected: this.#dependencies.sessions.connectedCount(),
        position,
        unfinishedIntents: counts.intent + abandoned,
        serverCertificateNotAfter: facts.serverCertificateNotAfter(),
      };
    });
  }
}
