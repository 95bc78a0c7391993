import type { TrustDomain } from '../common/spiffe/index.ts';
import type { NamesProfile, Subject } from '../domain/index.ts';
import type { KeyType, ParsedCertificate, SignatureAlgorithm } from '../common/x509/index.ts';

/**
 * A proof that the requester holds the private key. It is verified by the process that does
 * public-key work.
 */
export interface CsrProof {
  readonly spkiDer: Buffer;
  readonly signedBytes: Buffer;
  readonly signature: Buffer;
  readonly algorithm: SignatureAlgorithm;
}

/**
 * A PKCS#10 request (RFC 2986), parsed strictly. Its signature is not verified yet: see `proof`.
 */
export interface ParsedCsr {
  readonly raw: Buffer;
  readonly spkiDer: Buffer;
  readonly keyType: KeyType;
  readonly proof: CsrProof;
  /** Name with tag and length; `30 00` when empty. */
  readonly subjectDer: Buffer;
  readonly subjectIsEmpty: boolean;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  /** In canonical text. Each is also in `otherSanKinds`. */
  readonly ipSans: readonly string[];
  /** Kinds of requested names other than URI and DNS, one per name. */
  readonly otherSanKinds: readonly string[];
  /** Common names in the subject. */
  readonly commonNames: readonly string[];
  /** The request wants the TLS feature extension (RFC 7633), as for "OCSP must staple". */
  readonly wantsTlsFeature: boolean;
}

/**
 * - `short-lived`: life up to 24 h, noRevAvail (RFC 9608), no revocation information.
 * - `revocable`: CRL distribution point, no noRevAvail.
 * - `server`: the certificate of the CA's own server; rules of short-lived, ID `/meshca/server`.
 * - `short`, `hours`: names without a SPIFFE ID; serverAuth only, noRevAvail.
 * - `classic`: the same with a CRL distribution point, and a common name if one fits.
 * - `linkerd`: exactly one DNS name and no SPIFFE ID, a P-256 key; otherwise the rules of short-lived.
 */
export type LeafProfile = 'short-lived' | 'revocable' | 'server' | 'linkerd' | NamesProfile;
/**
 * - `root`: self-signed, no pathLen.
 * - `intermediate`: an issuing authority of this server, signed by a root, pathLen 0.
 * - `downstream`: another CA in this trust domain; like `intermediate`, without the mark.
 * - `cross`: another root's name and key, signed by a root for consumers that can not receive a
 *   second one; pathLen 1 for the intermediates below it.
 */
export type AuthorityProfile = 'root' | 'intermediate' | 'downstream' | 'cross';
/**
 * `ocsp-signer`: a delegated signer of OCSP answers for the leaves of its issuer. It has a subject
 * and no other name.
 */
export type Profile = LeafProfile | AuthorityProfile | 'ocsp-signer';

export interface LeafInput {
  readonly serial: Buffer;
  readonly issuer: ParsedCertificate;
  readonly spkiDer: Buffer;
  readonly subject: Subject;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly profile: LeafProfile;
  /** Required by `revocable` and `classic`, refused with any other profile. */
  readonly crlUrl?: string;
  /** See `InformationAccess`. */
  readonly access?: InformationAccess;
}

/**
 * AuthorityInfoAccess (RFC 5280 section 4.2.2.1), of names profiles alone. Both are http URLs.
 * `ocspUrl` is only for profiles without noRevAvail.
 */
export interface InformationAccess {
  readonly issuerUrl?: string;
  readonly ocspUrl?: string;
}

export interface AuthorityInput {
  readonly serial: Buffer;
  readonly profile: AuthorityProfile;
  /** undefined: self-signed (`root`). */
  readonly issuer: ParsedCertificate | undefined;
  readonly spkiDer: Buffer;
  readonly trustDomain: TrustDomain;
  readonly notBefore: number;
  readonly notAfter: number;
  /** URL of the parent's CRL; not for `root`. */
  readonly crlUrl?: string;
  /** Required for `cross`: the Name of the certified root, byte for byte. */
  readonly subjectDer?: Buffer;
  /** For `cross`: whether the certified root has the mark of an authority of a server. */
  readonly subjectMarked?: boolean;
  /** An authority of names: its own subject, no SPIFFE ID, no mark, serverAuth alone below it. */
  readonly names?: boolean;
}

export type CrlReason =
  | 'keyCompromise'
  | 'cACompromise'
  | 'affiliationChanged'
  | 'superseded'
  | 'cessationOfOperation'
  | 'privilegeWithdrawn';

export interface CrlEntry {
  readonly serialHex: string;
  /** Unix seconds. */
  readonly revokedAt: number;
  readonly reason?: CrlReason;
}

export interface CrlInput {
  readonly issuer: ParsedCertificate;
  /** Grows with each CRL of this issuer. */
  readonly number: bigint;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly revoked: readonly CrlEntry[];
  /**
   * The URL that the certificates of one shard name; undefined: the CRL is complete. As in them, it
   * is ASCII.
   */
  readonly distributionPoint?: string | undefined;
}

/** The intended content of a certificate. `lint` compares the bytes with it. */
export interface LintContext {
  /** undefined: self-signed. */
  readonly issuer: ParsedCertificate | undefined;
  /**
   * The serial that will be recorded; absent if the certificate is not recorded here (a ceremony).
   */
  readonly serial?: Buffer;
  readonly spkiDer: Buffer;
  /** For an authority: the ID of its trust domain. */
  readonly subject: Subject;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly crlUrl?: string;
  readonly access?: InformationAccess;
  /** Required for `cross`: the Name of the certified root. */
  readonly subjectDer?: Buffer;
  /** For `cross`: whether the certified root has the mark of an authority of a server. */
  readonly subjectMarked?: boolean;
  /** An authority of names. */
  readonly names?: boolean;
}
