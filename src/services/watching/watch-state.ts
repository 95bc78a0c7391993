import { bundleContent, type Authorities } from '../../issuance/index.ts';
import { crlReach } from '../../domain/index.ts';
import type { LedgerWatchers } from '../../ledger/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { DelegateCaller } from '../callers/caller.ts';
import type { Crls } from '../sync/source.ts';
import type { CrlState, RenewNowState, TaintState, TrustState } from './watch.ts';

export interface WatchStateDependencies {
  readonly authorities: Pick<Authorities, 'bundle' | 'tainted'>;
  readonly crls: Pick<Crls, 'set'>;
  readonly watchers: Pick<LedgerWatchers, 'certificatesOf'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly trustDomainName: string;
  readonly taintWindowSeconds: number;
}

/** What all sessions are told. Owner of the shared states, which last until the next change. */
export class WatchState {
  readonly #dependencies: WatchStateDependencies;
  #trust: TrustState | undefined;
  #crls: CrlState | undefined;
  #taints: readonly TaintState[] | undefined;

  constructor(dependencies: WatchStateDependencies) {
    this.#dependencies = dependencies;
  }

  moved(): void {
    this.#trust = undefined;
    this.#crls = undefined;
    this.#taints = undefined;
  }

  trust(): TrustState {
    if (this.#trust === undefined) {
      const { sequence, document } = this.#dependencies.authorities.bundle();
      const { trustDomainName } = this.#dependencies;
      this.#trust = { trustDomainName, sequence, ...bundleContent(document) };
    }
    return this.#trust;
  }

  /** Clients of gRPC take 4 MiB unless they set another limit: a larger set is not sent. */
  crls(): CrlState {
    if (this.#crls === undefined) {
      const crls = this.#dependencies.crls.set();
      const onlyHttp = crlReach(crls) !== 'all';
      this.#crls = { crls: onlyHttp ? [] : crls, onlyHttp };
    }
    return this.#crls;
  }

  taints(): readonly TaintState[] {
    const { authorities, taintWindowSeconds } = this.#dependencies;
    this.#taints ??= authorities
      .tainted()
      .map(({ id, subjectKeyId, taintedAt, taintWindowSeconds: window }) => ({
        authorityId: id,
        subjectKeyId: subjectKeyId ?? '',
        windowSeconds: window ?? taintWindowSeconds,
        taintedAt: taintedAt ?? 0,
      }));
    return this.#taints;
  }

  renewNow({ spiffeId, authorityId }: DelegateCaller): RenewNowState {
    const { watchers, clock } = this.#dependencies;
    const tainted = this.taints().map((taint) => taint.authorityId);
    return {
      ownCertificate: tainted.includes(authorityId),
      items: tainted.flatMap((id) => {
        const certificates = watchers.certificatesOf(spiffeId, id, clock.now());
        return certificates === 0 ? [] : [{ authorityId: id, certificates }];
      }),
    };
  }
}
