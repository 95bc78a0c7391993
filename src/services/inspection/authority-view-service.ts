import { PkiError } from '../../common/errors/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import type { Authority, AuthorityKind, AuthorityState } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { AuthorityStore, CertificateStore } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { AuthorityView, AuthorityViews, BundleView } from '../services.ts';
import { refusing } from '../callers/refusal-log.ts';
import type { InspectionDependencies } from './inspection-dependencies.ts';

export interface AuthorityViewDependencies extends InspectionDependencies {
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

  get(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<AuthorityView> {
    return this.#reading(caller, 'GetAuthority', id.slice(0, 64), async () => {
      const authority = await this.#dependencies.store.byId(id, signal);
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
