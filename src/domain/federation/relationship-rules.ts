import { PkiError, unwrap } from '../../common/errors/index.ts';
import { SpiffeId, TrustDomain } from '../../common/spiffe/index.ts';
import { parseCertificate } from '../../common/x509/index.ts';
import { endpointProfiles, type FederationRelationship } from './relationship.ts';

export type RelationshipInput = Omit<FederationRelationship, 'id' | 'createdAt' | 'createdBy'>;

const maximumUrlLength = 2_048;
const maximumWebRoots = 16;

/**
 * The relationship in the form that may be stored.
 *
 * @throws PkiError TRUST_DOMAIN_INVALID, SPIFFE_ID_INVALID, INVALID_REQUEST
 */
export function checkRelationship(input: RelationshipInput, own: TrustDomain): RelationshipInput {
  const trustDomain = unwrap(TrustDomain.parse(input.trustDomain));
  if (trustDomain.equals(own))
    throw new PkiError(
      'INVALID_REQUEST',
      `${own.name} is the own trust domain, and can not be a foreign one`,
      { next: 'Name the trust domain of the other side.' },
    );
  // the specification allows it, and libraries take no certificate that has such a name in a URI
  if (trustDomain.name.split('.').includes(''))
    throw new PkiError(
      'TRUST_DOMAIN_INVALID',
      `${JSON.stringify(trustDomain.name)} has an empty part beside a dot`,
    );
  if (!endpointProfiles.includes(input.endpointProfile))
    throw new PkiError(
      'INVALID_REQUEST',
      `the endpoint profile is none of ${endpointProfiles.join(', ')}`,
    );
  const web = input.endpointProfile === 'https_web';
  if (web && input.endpointSpiffeId !== '')
    throw new PkiError('INVALID_REQUEST', 'an endpoint of the profile https_web has no SPIFFE ID', {
      next: 'Leave the SPIFFE ID out, or take the profile https_spiffe.',
    });
  if (!web && input.webRoots.length > 0)
    throw new PkiError(
      'INVALID_REQUEST',
      'CAs of the web prove nothing for an endpoint of the profile https_spiffe',
      { next: 'Leave the file of CAs out, or take the profile https_web.' },
    );
  return {
    trustDomain: trustDomain.name,
    endpointUrl: endpointUrl(input.endpointUrl),
    endpointProfile: input.endpointProfile,
    endpointSpiffeId: web ? '' : endpointId(input.endpointSpiffeId),
    webRoots: webRoots(input.webRoots),
  };
}

/** A URL from which a bundle may be fetched. INVALID_REQUEST. */
export function endpointUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const problem =
    url === undefined || text.length > maximumUrlLength
      ? 'is no URL'
      : url.protocol !== 'https:'
        ? 'is not https'
        : // SPIFFE Federation, section 5.2: the URL has no user information
          url.username !== '' || url.password !== ''
          ? 'has user information'
          : url.hash === ''
            ? undefined
            : 'has a fragment';
  if (url === undefined || problem !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `the endpoint URL ${JSON.stringify(text.slice(0, 200))} ${problem}`,
      { next: 'Give it as https://HOST[:PORT]/PATH.' },
    );
  return url.href;
}

function endpointId(text: string): string {
  const id = unwrap(SpiffeId.parse(text));
  if (id.path === '')
    throw new PkiError(
      'SPIFFE_ID_INVALID',
      `${text} names a trust domain, and not the server of an endpoint`,
    );
  return id.toString();
}

function webRoots(roots: readonly string[]): readonly string[] {
  if (roots.length > maximumWebRoots)
    throw new PkiError(
      'INVALID_REQUEST',
      `at most ${maximumWebRoots} CAs of the web are allowed, not ${roots.length}`,
    );
  for (const root of roots) {
    const parsed = parseCertificate(Buffer.from(root, 'base64'));
    if (!parsed.ok)
      throw new PkiError('INVALID_REQUEST', `a CA of the web: ${parsed.error.message}`);
    if (!parsed.value.isCa)
      throw new PkiError('INVALID_REQUEST', 'a certificate among the CAs of the web is no CA');
  }
  return [...new Set(roots)];
}
