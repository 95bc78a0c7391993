import { PkiError, unwrap } from '../../common/errors/index.ts';
import { TrustDomain } from '../../common/spiffe/index.ts';

/** SPIFFE Federation, section 5.2: how the server of a bundle endpoint proves itself. */
export const endpointProfiles = ['https_web', 'https_spiffe'] as const;
export type EndpointProfile = (typeof endpointProfiles)[number];

/**
 * The trust in one foreign trust domain, and where its bundle comes from (SPIFFE Federation,
 * section 4). One for each foreign trust domain.
 */
export interface FederationRelationship {
  /** The name of the foreign trust domain. Never our own. */
  readonly trustDomain: string;
  /** A UUIDv7: a relationship that is made again after its deletion is another one. */
  readonly id: string;
  /** https, without user information. */
  readonly endpointUrl: string;
  readonly endpointProfile: EndpointProfile;
  /**
   * The SPIFFE ID that the endpoint must present, compared exactly. It may be of another trust domain
   * than the bundle. Empty for https_web.
   */
  readonly endpointSpiffeId: string;
  /** https_web: the roots that may stand above the endpoint, DER as base64. Empty: the system's. */
  readonly webRoots: readonly string[];
  readonly createdAt: number;
  readonly createdBy: string;
}

/** A JWT authority of a foreign trust domain. */
export interface ForeignJwtKey {
  readonly keyId: string;
  /** SubjectPublicKeyInfo, DER as base64. */
  readonly spki: string;
}

/**
 * The bundle of a foreign trust domain, as it was accepted last. What is trusted is what its record
 * in the log states.
 */
export interface ForeignBundle {
  readonly trustDomain: string;
  /** The ID of the relationship for which it was accepted. */
  readonly relationshipId: string;
  /** `spiffe_sequence`. 0: the document has none. */
  readonly sequence: number;
  /** `spiffe_refresh_hint`, seconds. 0: the document has none. */
  readonly refreshHintSeconds: number;
  /** Root certificates, DER as base64, in the order of the document. */
  readonly roots: readonly string[];
  readonly jwtKeys: readonly ForeignJwtKey[];
  /** SHA-256 (hex) of the document as it was received. */
  readonly documentSha256: string;
  readonly receivedAt: number;
}

const maximumForeignDomains = 32;

/**
 * The foreign trust domains of an entry, sorted and unique. A relationship need not exist yet: without
 * one, no bundle comes. Throws TRUST_DOMAIN_INVALID, INVALID_REQUEST.
 */
export function checkFederatesWith(names: readonly string[], own: TrustDomain): readonly string[] {
  if (names.length > maximumForeignDomains)
    throw new PkiError(
      'INVALID_REQUEST',
      `at most ${maximumForeignDomains} foreign trust domains are allowed, not ${names.length}`,
    );
  const checked = names.map((name) => unwrap(TrustDomain.parse(name)).name);
  if (checked.includes(own.name))
    throw new PkiError(
      'INVALID_REQUEST',
      `federates_with names ${own.name}, the own trust domain: every process has its bundle`,
      { next: 'Leave it out; name foreign trust domains alone.' },
    );
  return [...new Set(checked)].sort();
}
