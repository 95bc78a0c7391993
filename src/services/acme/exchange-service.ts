import { PkiError, unwrap } from '../../common/errors/index.ts';
import { KeyedBuckets, uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  checkEabKey,
  checkNames,
  isNamesProfile,
  maximumLifeOf,
  tenantOfNames,
  uncoveredName,
  type Delegation,
  type EabKey,
  type NamesProfile,
  type NamesSubject,
  type Proven,
  type Tenant,
} from '../../domain/index.ts';
import type { TokenMac } from '../../hsm/mac-port.ts';
import type { LedgerAcme, LedgerTenants } from '../../ledger/index.ts';
import type { Access } from '../callers/access.ts';
import type { DelegateCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import {
  activeDelegations,
  type ActiveDelegationDependencies,
} from '../issuing/active-delegations.ts';
import { enforceRate } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';
import { eabMacKey } from './eab-secret.ts';
import type { EabExchange, EabKeySecret, ExchangeAsk } from './operator-acme.ts';

export interface ExchangeDependencies extends ActiveDelegationDependencies {
  readonly eabKeys: Pick<LedgerAcme['eabKeys'], 'create'>;
  readonly tenants: Pick<LedgerTenants, 'byName'>;
  readonly mac: TokenMac;
  readonly access: Pick<Access, 'owners'>;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** Long enough to make an account and to get a certificate; a stolen key is of no use soon. */
const keySeconds = 600;

/**
 * Gives a delegate a key for an ACME client of its own: for one account, minutes, and the names that
 * it asks for. The names are shown by nothing, since the delegate could have them signed directly.
 * Owner of the limit on such calls.
 */
export class ExchangeService implements EabExchange {
  readonly #dependencies: ExchangeDependencies;
  readonly #buckets: KeyedBuckets;

  constructor(dependencies: ExchangeDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  exchange(caller: DelegateCaller, ask: ExchangeAsk, signal?: AbortSignal): Promise<EabKeySecret> {
    const { refusals } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'ExchangeEabKey' }, async () => {
      enforceRate(this.#buckets.take(caller.spiffeId, 1), 'too many keys');
      const delegations = await activeDelegations(this.#dependencies, caller);
      const { clock, eabKeys, mac, settings } = this.#dependencies;
      const subject = checkNames(ask, settings.reservedDnsNames);
      const delegation = covering(delegations, subject, ask.profile);
      const key = this.#keyOf(caller, delegation, subject, await this.#tenantOf(caller, subject));
      const macKey = await eabMacKey(mac, key.id);
      await eabKeys.create(key, {
        rights: [
          { kind: 'tenant', name: key.tenant },
          { kind: 'delegation', id: delegation.id },
          ...callerRights(caller),
        ],
        event: {
          timeMs: clock.nowMs(),
          actor: caller.spiffeId,
          kind: 'eab-key.created',
          subject: key.id,
          detail: {
            ...{ tenant: key.tenant, delegation: delegation.id, serial: caller.serial },
            ...{ dnsPatterns: key.dnsPatterns, ipRanges: key.ipRanges, expiresAt: key.expiresAt },
          },
        },
        signal,
      });
      return { key, macKey, directoryUrl: settings.acmeDirectoryUrl ?? '' };
    });
  }

  /** The tenant of the names and of the caller, which are one, as for whatever it has signed. */
  async #tenantOf({ spiffeId }: DelegateCaller, { dnsNames }: NamesSubject): Promise<Tenant> {
    const { access, tenants } = this.#dependencies;
    const claim = { by: 'spiffe-id', id: spiffeId } as const;
    const owner = unwrap(tenantOfNames(access.owners, { dnsNames, claim }));
    const tenant = owner && (await tenants.byName(owner.name));
    if (tenant === undefined)
      throw new PkiError('OUTSIDE_DELEGATION', `${spiffeId} belongs to no tenant`, {
        next:
          'Let an operator give a tenant the SPIFFE ID and the names (meshca tenant create), or ' +
          'have the names signed directly (Signing.Sign).',
      });
    return tenant;
  }

  #keyOf(
    caller: DelegateCaller,
    delegation: Delegation & { readonly profile: NamesProfile },
    { dnsNames, ips }: NamesSubject,
    tenant: Tenant,
  ): EabKey {
    const { clock, settings } = this.#dependencies;
    const now = clock.now();
    const { profile, maxTtlSeconds } = delegation;
    const ends = [now + keySeconds, caller.notAfter, delegation.expiresAt];
    const draft = checkEabKey(
      {
        tenant: tenant.name,
        description: '',
        dnsPatterns: dnsNames,
        ipRanges: ips,
        wildcards: dnsNames.some((name) => name.startsWith('*.')),
        profiles: [profile],
        ttlSeconds: Math.min(maxTtlSeconds, maximumLifeOf(profile) ?? maxTtlSeconds),
        keyTypes: delegation.keyTypes,
        proof: 'owner',
        challengeTypes: [],
        accounts: 'single',
        ...{ quotaCertificates: 0, quotaSeconds: 0 },
        expiresAt: Math.min(...ends.filter((end) => end !== 0)),
      },
      tenant,
      { ...settings, defaultProfile: profile },
      now,
    );
    return {
      ...draft,
      id: uuidv7(clock.nowMs()),
      accountId: null,
      revokedAt: null,
      version: 1,
      createdAt: now,
      createdBy: caller.spiffeId,
      source: {
        by: 'svid',
        spiffeId: caller.spiffeId,
        delegationId: delegation.id,
        serial: caller.serial,
        agent: caller.node?.spiffeId ?? null,
      },
    };
  }
}

type NamesDelegation = Proven<Delegation> & { readonly profile: NamesProfile };

/** One delegation covers all of it: rights of several never add up. */
function covering(
  delegations: readonly Proven<Delegation>[],
  subject: NamesSubject,
  profile: string,
): NamesDelegation {
  const ofNames = delegations.filter(
    (each): each is NamesDelegation =>
      isNamesProfile(each.profile) && (profile === '' || each.profile === profile),
  );
  const found = ofNames.find((each) => uncoveredName(each, subject) === undefined);
  if (found !== undefined) return found;
  const [first] = ofNames;
  throw new PkiError(
    'OUTSIDE_DELEGATION',
    first === undefined
      ? `no active delegation allows names without an identity${profile === '' ? '' : ` of the profile ${profile.slice(0, 40)}`}`
      : ofNames.length === 1
        ? `the delegation ${first.id} does not allow ${uncoveredName(first, subject)}`
        : `no one of ${ofNames.length} active delegations allows all of these names`,
  );
}
