import { parseCsr } from '../../certs/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { keyTypes } from '../../common/x509/key-type.ts';
import {
  spiffeSubject,
  checkDnsNames,
  checkNames,
  chooseNamesDelegation,
  isNamesProfile,
  namesLives,
  namesProfiles,
  chooseDelegation,
  userSpiffeId,
  type Delegation,
  type Proven,
  type Requester,
  type Rights,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LeafRequest } from '../../issuance/issuer.ts';
import type { LedgerDelegations, ObjectLedger } from '../../ledger/index.ts';
import { requesterOf, type DelegateCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import type { DelegatedItem, Signing, SvidOutcome } from '../services.ts';
import { activeDelegations } from './active-delegations.ts';
import { decideEach, issueDecided, type IssuingDependencies, type ItemTerms } from './decided.ts';
import { KeyedBuckets } from '../../common/runtime/index.ts';
import { refusing } from '../callers/refusal-log.ts';
import { checkBatchSize, enforceRate, ttlWithin } from '../requests.ts';

export interface SigningDependencies extends IssuingDependencies {
  readonly objects: Pick<ObjectLedger, 'require' | 'isAdminId'>;
  readonly delegations: Pick<LedgerDelegations, 'activeFor' | 'compareSoon'>;
  readonly authorities: Pick<Authorities, 'rootsDer'>;
}

/** What holds for all items of one call. */
interface DelegateBatch {
  readonly caller: DelegateCaller;
  readonly delegations: readonly Proven<Delegation>[];
  readonly requester: Requester;
  /** Of the caller, beside its delegations. */
  readonly rights: Rights;
}

/**
 * Signs for control planes inside their delegation. The certificates always have kind `delegated`.
 */
export class SigningService implements Signing {
  readonly #dependencies: SigningDependencies;
  readonly #buckets: KeyedBuckets;

  constructor(dependencies: SigningDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  sign(
    caller: DelegateCaller,
    items: readonly DelegatedItem[],
    signal?: AbortSignal,
  ): Promise<{ readonly outcomes: readonly SvidOutcome[]; readonly rootsDer: readonly Buffer[] }> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'Sign' }, async () => {
      checkBatchSize(items.length);
      enforceRate(this.#buckets.take(caller.spiffeId, items.length), 'too many certificates');
      const delegations = await activeDelegations(this.#dependencies, caller);
      const batch: DelegateBatch = {
        caller,
        delegations,
        requester: requesterOf(caller),
        rights: callerRights(caller),
      };
      const decided = decideEach(
        items,
        { nowMs: this.#dependencies.clock.nowMs(), signal },
        ({ spiffeId, dnsNames, ips }) => spiffeId || [...dnsNames, ...ips].join(' '),
        (item, terms) => this.#leafRequest(batch, item, terms),
      );
      if (decided.some((each) => !each.ok && each.error.code === 'OUTSIDE_DELEGATION'))
        this.#dependencies.delegations.compareSoon();
      return {
        outcomes: await issueDecided(this.#dependencies, { caller, operation: 'Sign' }, decided),
        rootsDer: this.#dependencies.authorities.rootsDer(),
      };
    });
  }

  delegation(caller: DelegateCaller): ReturnType<Signing['delegation']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'GetDelegation' },
      async () => {
        const delegations = await activeDelegations(this.#dependencies, caller);
        const isOfNames = ({ profile }: Delegation): boolean => isNamesProfile(profile);
        const identities = delegations.filter((each) => !isOfNames(each));
        return {
          delegationIds: delegations.map(({ id }) => id),
          patterns: [...new Set(identities.flatMap(({ patterns }) => patterns))],
          maxTtlSeconds: Math.max(0, ...identities.map(({ maxTtlSeconds }) => maxTtlSeconds)),
          keyTypes: keyTypes.filter((type) =>
            identities.some((delegation) => delegation.keyTypes.includes(type)),
          ),
          names: delegations.filter(isOfNames),
        };
      },
    );
  }

  #leafRequest(batch: DelegateBatch, item: DelegatedItem, terms: ItemTerms): LeafRequest {
    const { objects, settings } = this.#dependencies;
    if (item.spiffeId === '') return this.#namesRequest(batch, item, terms);
    const { caller, delegations } = batch;
    if (item.ips.length > 0 || item.profile !== '')
      throw new PkiError(
        'INVALID_REQUEST',
        'a request with a SPIFFE ID has neither IP addresses nor a profile',
        { next: 'Leave them out, or leave the SPIFFE ID out for a certificate of names alone.' },
      );
    const spiffeId = unwrap(userSpiffeId(item.spiffeId, settings.trustDomain));
    // a delegate never gets the ID of an admin, even without the admin's rights
    if (objects.isAdminId(item.spiffeId))
      throw new PkiError('OUTSIDE_DELEGATION', `${item.spiffeId} is the identity of an admin`);
    const dnsNames = checkDnsNames(item.dnsNames, settings.reservedDnsNames);
    if (item.ttlSeconds !== 0)
      ttlWithin(item.ttlSeconds, settings.minimumTtlSeconds, settings.maximumX509TtlSeconds);
    const csr = unwrap(parseCsr(item.csrDer));
    const { keyType } = csr;
    const { delegation, ttlSeconds } = unwrap(
      chooseDelegation(delegations, { spiffeId, dnsNames, ttlSeconds: item.ttlSeconds, keyType }),
    );
    return {
      requestId: terms.requestId,
      isNew: terms.isNew,
      csrDer: item.csrDer,
      csr,
      subject: spiffeSubject(spiffeId, dnsNames),
      kind: 'delegated',
      profile: delegation.profile,
      ttlSeconds: Math.min(ttlSeconds, settings.maximumX509TtlSeconds),
      endsWithIssuer: item.ttlSeconds === 0,
      caller: batch.requester,
      holder: caller.spiffeId,
      entryId: null,
      delegationId: delegation.id,
      replaces: null,
      claim: { by: 'spiffe-id', id: caller.spiffeId },
      rights: [{ kind: 'delegation', id: delegation.id }, ...batch.rights],
      keyTypes: delegation.keyTypes,
      reason: { client: caller.spiffeId, delegation: delegation.id },
      signal: terms.signal,
    };
  }

  /** Names without an identity: certificates of kind `endpoint`, by a delegation of names. */
  #namesRequest(batch: DelegateBatch, item: DelegatedItem, terms: ItemTerms): LeafRequest {
    const { caller, delegations } = batch;
    const { minimumTtlSeconds, reservedDnsNames } = this.#dependencies.settings;
    const subject = checkNames(item, reservedDnsNames);
    if (item.profile !== '' && !isNamesProfile(item.profile))
      throw new PkiError(
        'INVALID_REQUEST',
        `profile ${JSON.stringify(item.profile.slice(0, 40))} is not one of ${namesProfiles.join(', ')}`,
        { next: 'Leave it out, so that the delegation decides, or name one of them.' },
      );
    if (item.ttlSeconds !== 0)
      ttlWithin(item.ttlSeconds, minimumTtlSeconds, namesLives.classic.maximum);
    const csr = unwrap(parseCsr(item.csrDer));
    const { delegation, ttlSeconds } = unwrap(
      chooseNamesDelegation(delegations, {
        subject,
        profile: item.profile === '' ? undefined : item.profile,
        ttlSeconds: item.ttlSeconds,
        keyType: csr.keyType,
      }),
    );
    return {
      requestId: terms.requestId,
      isNew: terms.isNew,
      csrDer: item.csrDer,
      csr,
      subject,
      kind: 'endpoint',
      profile: delegation.profile,
      ttlSeconds,
      caller: batch.requester,
      holder: caller.spiffeId,
      entryId: null,
      delegationId: delegation.id,
      replaces: null,
      claim: { by: 'spiffe-id', id: caller.spiffeId },
      rights: [{ kind: 'delegation', id: delegation.id }, ...batch.rights],
      keyTypes: delegation.keyTypes,
      reason: { client: caller.spiffeId, delegation: delegation.id },
      signal: terms.signal,
    };
  }
}
