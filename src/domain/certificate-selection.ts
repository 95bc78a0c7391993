import { fail, ok, type Result } from '../common/errors/index.ts';
import { parseDnsName, SpiffeId } from '../common/spiffe/index.ts';
import type { CertificateRecord } from './certificate.ts';
import type { TenantNames } from './tenant.ts';

/** Which certificates are meant: those that fit every criterion that is given. */
export interface CertificateSelection {
  readonly spiffeId?: string;
  /** Ends in a slash: every identity below it. */
  readonly spiffeIdPrefix?: string;
  /** A DNS name in the certificate, as it stands there. */
  readonly dnsName?: string;
  /** The SPIFFE ID of an agent or a client. */
  readonly holder?: string;
  readonly entryId?: string;
  readonly delegationId?: string;
  /** SHA-256 of the SubjectPublicKeyInfo in DER, hex. */
  readonly publicKeySha256?: string;
  /** The authority that signed. */
  readonly authorityId?: string;
  /** The name of a tenant: issued for it, or with a SPIFFE ID or a DNS name of it. */
  readonly tenant?: string;
  /** The names of `tenant` as they are when the act begins. */
  readonly owned?: TenantNames;
  /** Unix seconds, both inclusive. */
  readonly issuedAfter?: number;
  readonly issuedBefore?: number;
}

const maximumText = 2_100;

/**
 * Refuses a selection that selects everything, or that can select nothing. Fails with
 * INVALID_REQUEST, SPIFFE_ID_INVALID or DNS_NAME_INVALID.
 */
export function checkSelection(selection: CertificateSelection): Result<CertificateSelection> {
  const { spiffeId, spiffeIdPrefix, dnsName, publicKeySha256, issuedAfter, issuedBefore } =
    selection;
  const given = Object.values(selection).filter((value) => value !== undefined);
  if (given.length === 0)
    return fail('INVALID_REQUEST', 'no criterion says which certificates are meant', {
      next: 'State at least one: an identity, a DNS name, a holder, an entry, a delegation, a key, an issuer or a time.',
    });
  if (given.some((value) => typeof value === 'string' && value.length > maximumText))
    return fail('INVALID_REQUEST', `a criterion has more than ${maximumText} characters`);
  if (spiffeId !== undefined) {
    const id = SpiffeId.parse(spiffeId);
    if (!id.ok) return id;
  }
  if (spiffeIdPrefix !== undefined && !spiffeIdPrefix.endsWith('/'))
    return fail(
      'INVALID_REQUEST',
      `the prefix ${JSON.stringify(spiffeIdPrefix.slice(0, 80))} does not end in a slash`,
      { next: 'End it with a slash, so that /team-a/ does not mean /team-ab.' },
    );
  if (dnsName !== undefined) {
    const name = parseDnsName(dnsName.startsWith('*.') ? dnsName.slice(2) : dnsName);
    if (!name.ok) return name;
  }
  if (publicKeySha256 !== undefined && !/^[0-9a-f]{64}$/.test(publicKeySha256))
    return fail('INVALID_REQUEST', 'the digest of a public key has 64 digits of lower-case hex');
  if (issuedAfter !== undefined && issuedBefore !== undefined && issuedAfter > issuedBefore)
    return fail('INVALID_REQUEST', 'the time range ends before it begins');
  return ok(selection);
}

/** For records: the criteria that are given, as text. */
export const selectionTexts = ({
  owned: _names,
  ...selection
}: CertificateSelection): readonly string[] =>
  Object.entries(selection)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`)
    .sort();

/** What the criteria look at. */
export type SelectedFacts = Pick<
  CertificateRecord,
  | 'spiffeId'
  | 'holder'
  | 'entryId'
  | 'delegationId'
  | 'publicKeySha256'
  | 'authorityId'
  | 'createdAtMs'
  | 'tenant'
> & {
  /** In the certificate; undefined: not known. */
  readonly dnsNames: readonly string[] | undefined;
};

/** Whether a certificate fits every criterion. `unknown`: its DNS names decide. */
export function fitsSelection(
  selection: CertificateSelection,
  facts: SelectedFacts,
): 'yes' | 'no' | 'unknown' {
  const { spiffeIdPrefix, issuedAfter = 0, issuedBefore = Infinity } = selection;
  const createdAt = Math.floor(facts.createdAtMs / 1000);
  const fits =
    equalCriteria.every(
      (name) => selection[name] === undefined || selection[name] === facts[name],
    ) &&
    (spiffeIdPrefix === undefined || facts.spiffeId.startsWith(spiffeIdPrefix)) &&
    createdAt >= issuedAfter &&
    createdAt <= issuedBefore;
  return fits ? fitsNames(selection, facts) : 'no';
}

const equalCriteria = [
  'spiffeId',
  'holder',
  'entryId',
  'delegationId',
  'publicKeySha256',
  'authorityId',
] as const;

function fitsNames(
  { dnsName, owned }: CertificateSelection,
  { spiffeId, tenant, dnsNames }: SelectedFacts,
): 'yes' | 'no' | 'unknown' {
  const asksOwner =
    owned !== undefined &&
    owned.name !== tenant &&
    !owned.spiffePrefixes.some((prefix) => spiffeId.startsWith(prefix));
  if (dnsName === undefined && !asksOwner) return 'yes';
  if (dnsNames === undefined) return 'unknown';
  const isOwned = (name: string): boolean =>
    owned?.dnsSuffixes.some((suffix) => name === suffix || name.endsWith(`.${suffix}`)) === true;
  const fits =
    (dnsName === undefined || dnsNames.includes(dnsName)) && (!asksOwner || dnsNames.some(isOwned));
  return fits ? 'yes' : 'no';
}
