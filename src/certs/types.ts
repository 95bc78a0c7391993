import type { TrustDomain } from '../common/spiffe/index.ts';
import type { Subject } from '../domain/index.ts';
import type { KeyType, ParsedCertificate, SignatureAlgorithm } from '../common/x509/index.ts';

/** A proof that the requester holds his key, to be checked where public-key work is done. */
export interface CsrProof {
  readonly spkiDer: Buffer;
  readonly signedBytes: Buffer;
  readonly signature: Buffer;
  readonly algorithm: SignatureAlgorithm;
}

/**
 * A PKCS#10 request (RFC 2986) read by the strict parser. The signature is not verified yet: see
 * `proof`.
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
  /** In canonical text; each stands among `otherSanKinds` as well. */
  readonly ipSans: readonly string[];
  /** Kinds of requested names other than URI and DNS, one per name. */
  readonly otherSanKinds: readonly string[];
  /** Common names in the subject. */
  readonly commonNames: readonly string[];
}

/**
 * - `short-lived`: life up to 24 h, noRevAvail (RFC 9608), nothing about revocation.
 * - `revocable`: CRL distribution point, no noRevAvail.
 * - `server`: the certificate of the CA's own server; short-lived rules, ID `/meshca/server`.
 * - `endpoint`: names without a SPIFFE ID; serverAuth alone, a CRL where there is one.
 */
export type LeafProfile = 'short-lived' | 'revocable' | 'server' | 'endpoint';
/**
 * - `root`: self-signed, no pathLen.
 * - `intermediate`: an issuing authority of this server, signed by a root, pathLen 0.
 * - `downstream`: of somebody else's CA in this trust domain; the same without the mark.
 * - `cross`: another root's name and key, signed by a root for consumers that can not take a second
 *   one, pathLen 1 for the intermediates below it.
 */
export type AuthorityProfile = 'root' | 'intermediate' | 'downstream' | 'cross';
export type Profile = LeafProfile | AuthorityProfile;

export interface LeafInput {
  readonly serial: Buffer;
  readonly issuer: ParsedCertificate;
  readonly spkiDer: Buffer;
  readonly subject: Subject;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly profile: LeafProfile;
  /** Needed by `revocable`, allowed with `endpoint`, refused with any other. */
  readonly crlUrl?: string;
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
  /** Where the parent publishes its CRL; not for `root`. */
  readonly crlUrl?: string;
  /** For `cross`, and needed there: the Name of the certified root, byte for byte. */
  readonly subjectDer?: Buffer;
  /** For `cross`: whether the certified root has the mark of an authority of a server. */
  readonly subjectMarked?: boolean;
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
}

/** What the certificate is meant to say: `lint` holds the bytes against it. */
export interface LintContext {
  /** undefined: self-signed. */
  readonly issuer: ParsedCertificate | undefined;
  /** As it goes on record; absent where the certificate is not recorded here (a ceremony). */
  readonly serial?: Buffer;
  readonly spkiDer: Buffer;
  /** For an authority: the ID of its trust domain. */
  readonly subject: Subject;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly crlUrl?: string;
  /** The Name that must stand there; needed for `cross`. */
  readonly subjectDer?: Buffer;
  /** For `cross`: whether the certified root has the mark of an authority of a server. */
  readonly subjectMarked?: boolean;
}
