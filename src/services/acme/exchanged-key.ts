import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  checkEabKey,
  checkNames,
  maximumLifeOf,
  tenantOfNames,
  uncoveredName,
  type Delegation,
  type EabKey,
  type EabKeySource,
  type NamesSubject,
  type Proven,
} from '../../domain/index.ts';
import type { LedgerTenants } from '../../ledger/index.ts';
import type { Access } from '../callers/access.ts';
import { namesDelegations, type NamesDelegation } from '../issuing/active-delegations.ts';
import type { ServiceSettings } from '../settings.ts';
import type { ExchangeAsk } from './operator-acme.ts';

export interface ExchangedKeyDependencies {
  readonly tenants: Pick<LedgerTenants, 'byName'>;
  readonly access: Pick<Access, 'owners'>;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** Who exchanges, as far as it is proven. */
export interface ExchangeHolder {
  readonly spiffeId: string;
  readonly delegations: readonly Proven<Delegation>[];
  /** Of the key, for records. */
  readonly createdBy: string;
  /** Unix seconds, at which what it proves itself by ends; 0: it counts once. */
  readonly endsAt: number;
  source(delegationId: string): EabKeySource;
}

/** Long enough to make an account and to get a certificate; a stolen key is of no use soon. */
const keySeconds = 600;

/**
 * The key for one account and some minutes, for names that one delegation covers and that belong to
 * the tenant of the holder's SPIFFE ID. The names are shown by nothing, since the delegation has
 * them signed directly as well.
 *
 * @throws PkiError OUTSIDE_DELEGATION, NAME_OF_OTHER_TENANT, and those of names and EAB keys
 */
export async function exchangedKey(
  holder: ExchangeHolder,
  ask: ExchangeAsk,
  dependencies: ExchangedKeyDependencies,
): Promise<EabKey> {
  const { clock, settings } = dependencies;
  const { dnsNames, ips } = checkNames(ask, settings.reservedDnsNames);
  const delegation = covering(holder.delegations, { kind: 'names', dnsNames, ips }, ask.profile);
  const tenant = await tenantOf(holder, dnsNames, dependencies);
  const { profile, maxTtlSeconds, keyTypes } = delegation;
  const now = clock.now();
  const ends = [now + keySeconds, holder.endsAt, delegation.expiresAt];
  const draft = checkEabKey(
    {
      tenant: tenant.name,
      description: '',
      dnsPatterns: dnsNames,
      ipRanges: ips,
      wildcards: dnsNames.some((name) => name.startsWith('*.')),
      profiles: [profile],
      ttlSeconds: Math.min(maxTtlSeconds, maximumLifeOf(profile) ?? maxTtlSeconds),
      keyTypes,
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
    createdBy: holder.createdBy,
    source: holder.source(delegation.id),
  };
}

/**
 * The name of the issuer whose token the key was exchanged for, if the configuration gives EAB keys
 * for tokens of that issuer no more: then the key has ended. Otherwise undefined.
 */
export const lostIssuer = (
  { source }: Pick<EabKey, 'source'>,
  isIssuer: (name: string) => boolean,
): string | undefined =>
  source?.by === 'token' && !isIssuer(source.issuer) ? source.issuer : undefined;

/** What the record of such a key states, beside who exchanged it. */
export const exchangedDetail = ({ tenant, dnsPatterns, ipRanges, expiresAt, source }: EabKey) => ({
  ...{ tenant, dnsPatterns, ipRanges, expiresAt },
  delegation: source?.delegationId ?? '',
});

/** The tenant of the names and of the holder, which are one, as for whatever it has signed. */
async function tenantOf(
  { spiffeId }: ExchangeHolder,
  dnsNames: readonly string[],
  { access, tenants }: ExchangedKeyDependencies,
) {
  const claim = { by: 'spiffe-id', id: spiffeId } as const;
  const owner = unwrap(tenantOfNames(access.owners, { dnsNames, claim }));
  const tenant = owner && (await tenants.byName(owner.name));
  if (tenant !== undefined) return tenant;
  throw new PkiError('OUTSIDE_DELEGATION', `${spiffeId} belongs to no tenant`, {
    next:
      'Let an operator give a tenant the SPIFFE ID and the names (meshca tenant create), or ' +
      'have the names signed directly (Signing.Sign).',
  });
}

/** One delegation covers all of it: rights of several never add up. */
function covering(
  delegations: readonly Proven<Delegation>[],
  subject: NamesSubject,
  profile: string,
): NamesDelegation {
  const ofNames = namesDelegations(delegations).filter(
    (each) => profile === '' || each.profile === profile,
  );
  const found = ofNames.find((each) => uncoveredName(each, subject) === undefined);
  if (found !== undefined) return found;
  const [first] = ofNames;
  throw new PkiError('OUTSIDE_DELEGATION', whyUncovered(ofNames, first, { subject, profile }));
}

function whyUncovered(
  delegations: readonly NamesDelegation[],
  first: NamesDelegation | undefined,
  { subject, profile }: { readonly subject: NamesSubject; readonly profile: string },
): string {
  if (first === undefined) {
    const ofProfile = profile === '' ? '' : ` of the profile ${profile.slice(0, 40)}`;
    return `no active delegation allows names without an identity${ofProfile}`;
  }
  return delegations.length === 1
    ? `the delegation ${first.id} does not allow ${uncoveredName(first, subject)}`
    : `no one of ${delegations.length} active delegations allows all of these names`;
}
