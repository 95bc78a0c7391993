import { PkiError, unwrap } from '../../common/errors/index.ts';
import { type Clock, KeyedBuckets } from '../../common/runtime/index.ts';
import {
  spiffeSubject,
  checkDnsNames,
  shortLivedMaximumSeconds,
  userSpiffeId,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { Issuer } from '../../issuance/issuer.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, requesterOf, type OperatorCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import type { Mint } from '../services.ts';
import { coversNamesOfTenants } from '../tenants/names-of-tenants.ts';
import { issueOne } from './decided.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { enforceRate, requestIdOrNew, ttlWithin } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';

export interface MintDependencies {
  readonly issuer: Issuer;
  readonly authorities: Pick<Authorities, 'rootsDer'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** Issues SVIDs without an entry: for an operator, and for the first admin. */
export class MintService implements Mint {
  readonly #dependencies: MintDependencies;
  readonly #buckets: KeyedBuckets;

  constructor(dependencies: MintDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  mint(
    caller: OperatorCaller,
    request: Parameters<Mint['mint']>[1],
    signal?: AbortSignal,
  ): ReturnType<Mint['mint']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'MintX509Svid', subject: request.spiffeId },
      async () => {
        const { settings } = this.#dependencies;
        const requestId = requestIdOrNew(request.requestId, this.#dependencies.clock.nowMs());
        const spiffeId = unwrap(userSpiffeId(request.spiffeId, settings.trustDomain));
        const rights = await this.#dependencies.access.of(caller);
        rights.require('certificate.mint', { kind: 'id', spiffeId: request.spiffeId });
        if (request.admin) rights.requireEverything('minting an admin');
        const dnsNames = checkDnsNames(request.dnsNames, settings.reservedDnsNames);
        const { owners } = this.#dependencies.access;
        if (!coversNamesOfTenants(rights, 'certificate.mint', { owners, dnsNames }))
          rights.requireEverything('minting DNS names that are not of a tenant of the caller');
        const actor = actorOf(caller);
        enforceRate(this.#buckets.take(actor), 'too many certificates');
        const maximum = Math.min(settings.maximumX509TtlSeconds, shortLivedMaximumSeconds);
        const ttlSeconds =
          request.ttlSeconds === 0
            ? Math.min(settings.defaultX509TtlSeconds, maximum)
            : ttlWithin(request.ttlSeconds, settings.minimumTtlSeconds, maximum);
        if (request.csrDer.length === 0)
          throw new PkiError('CSR_MALFORMED', 'the request has no CSR');
        const leaf = await issueOne(this.#dependencies, {
          requestId,
          csrDer: request.csrDer,
          subject: spiffeSubject(spiffeId, dnsNames),
          kind: request.admin ? 'admin' : 'workload',
          profile: 'short-lived',
          ttlSeconds,
          endsWithIssuer: request.ttlSeconds === 0,
          caller: requesterOf(caller),
          holder: actor,
          entryId: null,
          delegationId: null,
          replaces: null,
          rights: caller.class === 'admin' ? callerRights(caller) : [],
          reason: { method: 'mint' },
          signal,
        });
        return { leaf, rootsDer: this.#dependencies.authorities.rootsDer() };
      },
    );
  }
}
