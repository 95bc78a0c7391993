import { parseCsr } from '../../certs/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { keyTypes, type KeyType } from '../../common/x509/key-type.ts';
import {
  spiffeSubject,
  checkDnsNames,
  chooseDelegation,
  userSpiffeId,
  type Delegation,
  type Proven,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LeafRequest } from '../../issuance/issuer.ts';
import type { DelegationStore, EntryStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import { requesterOf, type Caller, type DelegateCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-registry.ts';
import type { DelegatedItem, Signing, SvidOutcome } from '../services.ts';
import { decideEach, issueDecided, type IssuingDependencies } from './decided.ts';
import { KeyedBuckets } from '../../common/runtime/index.ts';
import { refusing } from '../callers/refusal-log.ts';
import { checkBatchSize, enforceRate, ttlWithin } from '../requests.ts';

export interface SigningDependencies extends IssuingDependencies {
  readonly delegations: Pick<DelegationStore, 'activeFor'>;
  readonly entries: Pick<EntryStore, 'list'>;
  readonly authorities: Pick<Authorities, 'rootsDer'>;
  readonly onRevision: (listener: () => void) => () => void;
}

const maximumKnownIds = 20_000;

/**
 * Signs for control planes inside their delegation. The certificates always have kind `delegated`.
 */
export class SigningService implements Signing {
  readonly #dependencies: SigningDependencies;
  readonly #buckets: KeyedBuckets;
  readonly #stop: () => void;
  /**
   * Whether an ID is an admin's at the present revision. Each revision gets a new map, so that a
   * read of an earlier revision fills the old one.
   */
  #adminById = new Map<string, boolean>();

  constructor(dependencies: SigningDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
    this.#stop = dependencies.onRevision(() => {
      this.#adminById = new Map();
    });
  }

  close(): void {
    this.#stop();
  }

  sign(
    caller: DelegateCaller,
    items: readonly DelegatedItem[],
    signal?: AbortSignal,
  ): Promise<{ readonly outcomes: readonly SvidOutcome[]; readonly rootsDer: readonly Buffer[] }> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'Sign' }, async () => {
      checkBatchSize(items.length);
      enforceRate(this.#buckets.take(caller.spiffeId, items.length), 'too many certificates');
      const delegations = await this.#activeOf(caller);
      const adminIds = await this.#adminIds(items);
      const decided = decideEach(
        items,
        this.#dependencies.clock.nowMs(),
        ({ spiffeId }) => spiffeId,
        (item) => this.#leafRequest(caller, delegations, adminIds, item),
      );
      return {
        outcomes: await issueDecided(
          this.#dependencies,
          { caller, operation: 'Sign', signal },
          decided,
        ),
        rootsDer: this.#dependencies.authorities.rootsDer(),
      };
    });
  }

  delegation(caller: DelegateCaller): ReturnType<Signing['delegation']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'GetDelegation' },
      async () => {
        const delegations = await this.#activeOf(caller);
        return {
          delegationIds: delegations.map(({ id }) => id),
          patterns: [...new Set(delegations.flatMap(({ patterns }) => patterns))],
          maxTtlSeconds: Math.max(...delegations.map(({ maxTtlSeconds }) => maxTtlSeconds)),
          keyTypes: keyTypes.filter((type) =>
            delegations.some((delegation) => delegation.keyTypes.includes(type)),
          ),
        };
      },
    );
  }

  async #activeOf(caller: DelegateCaller): Promise<readonly Proven<Delegation>[]> {
    const actual = caller as Caller;
    if (actual.class !== 'delegate' || actual.kind !== 'workload')
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `only delegates may do this, not ${actual.class} callers`,
      );
    const delegations = await this.#dependencies.delegations.activeFor(
      caller.spiffeId,
      this.#dependencies.clock.now(),
    );
    if (delegations.length === 0)
      throw new PkiError('CALLER_NOT_ADMITTED', `${caller.spiffeId} has no active delegation`);
    return delegations.map((delegation) =>
      this.#dependencies.objects.require('delegation', delegation),
    );
  }

  /**
   * The requested IDs of which an entry makes an admin. A delegate never gets those, even without
   * the admin's rights.
   */
  async #adminIds(items: readonly DelegatedItem[]): Promise<ReadonlySet<string>> {
    const candidates = [...new Set(items.map(({ spiffeId }) => spiffeId))].filter(
      (id) => userSpiffeId(id, this.#dependencies.settings.trustDomain).ok,
    );
    const verdicts = await Promise.all(
      candidates.map(async (spiffeId) => ((await this.#isAdminId(spiffeId)) ? [spiffeId] : [])),
    );
    return new Set(verdicts.flat());
  }

  async #isAdminId(spiffeId: string): Promise<boolean> {
    const adminById = this.#adminById;
    const before = adminById.get(spiffeId);
    if (before !== undefined) return before;
    const isAdmin = await this.#statedAsAdmin(spiffeId);
    if (adminById.size < maximumKnownIds) adminById.set(spiffeId, isAdmin);
    return isAdmin;
  }

  async #statedAsAdmin(spiffeId: string): Promise<boolean> {
    for await (const entries of pagesOf((page) =>
      this.#dependencies.entries.list({ spiffeId }, page),
    ))
      if (entries.some((entry) => this.#dependencies.objects.require('entry', entry).admin))
        return true;
    return false;
  }

  #leafRequest(
    caller: DelegateCaller,
    delegations: readonly Proven<Delegation>[],
    adminIds: ReadonlySet<string>,
    item: DelegatedItem,
  ): LeafRequest {
    const { settings } = this.#dependencies;
    const spiffeId = unwrap(userSpiffeId(item.spiffeId, settings.trustDomain));
    if (adminIds.has(item.spiffeId))
      throw new PkiError('OUTSIDE_DELEGATION', `${item.spiffeId} is the identity of an admin`);
    const dnsNames = checkDnsNames(item.dnsNames, settings.reservedDnsNames);
    if (item.ttlSeconds !== 0)
      ttlWithin(item.ttlSeconds, settings.minimumTtlSeconds, settings.maximumX509TtlSeconds);
    const keyType: KeyType = unwrap(parseCsr(item.csrDer)).keyType;
    const { delegation, ttlSeconds } = unwrap(
      chooseDelegation(delegations, { spiffeId, dnsNames, ttlSeconds: item.ttlSeconds, keyType }),
    );
    return {
      requestId: item.requestId,
      csrDer: item.csrDer,
      subject: spiffeSubject(spiffeId, dnsNames),
      kind: 'delegated',
      profile: delegation.profile,
      ttlSeconds: Math.min(ttlSeconds, settings.maximumX509TtlSeconds),
      endsWithIssuer: item.ttlSeconds === 0,
      caller: requesterOf(caller),
      holder: caller.spiffeId,
      entryId: null,
      delegationId: delegation.id,
      replaces: null,
      rights: [{ kind: 'delegation', id: delegation.id }, ...callerRights(caller)],
      keyTypes: delegation.keyTypes,
      reason: { client: caller.spiffeId, delegation: delegation.id },
    };
  }
}
