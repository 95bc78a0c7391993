import type { SpiffeId } from '../spiffe/index.ts';

/** Hash and scheme of a signature; ECDSA as DER Ecdsa-Sig-Value, RSA as PKCS #1 v1.5. */
export type SignatureAlgorithm =
  | 'ecdsa-sha256'
  | 'ecdsa-sha384'
  | 'ecdsa-sha512'
  | 'rsa-sha256'
  | 'rsa-sha384'
  | 'rsa-sha512';

/** RFC 5280 section 4.2.1.3, in the order of the bits. */
export const keyUsageNames = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsageName = (typeof keyUsageNames)[number];

/** What stands in a subjectAltName extension. */
export interface AltNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  /** In canonical text; an address of neither 4 nor 16 octets is left out. */
  readonly ips: readonly string[];
  /** Kinds of all other names, for example `iPAddress` or `otherName`, one per name. */
  readonly otherKinds: readonly string[];
}

/** A certificate read by the strict parser. Buffers are views into `raw`: never write to them. */
export interface ParsedCertificate {
  readonly raw: Buffer;
  /** The signed bytes, with tag and length. */
  readonly tbsDer: Buffer;
  /**
   * Lower-case hex of the INTEGER's content without the sign octet: a 16-byte serial gives 32
   * digits.
   */
  readonly serialHex: string;
  readonly issuerDer: Buffer;
  readonly subjectDer: Buffer;
  /** Unix seconds; both ends are inclusive. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spkiDer: Buffer;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  /** In canonical text; each stands among `otherSanKinds` as well. */
  readonly ipSans: readonly string[];
  /** Kinds of SANs other than URI and DNS, one per name. */
  readonly otherSanKinds: readonly string[];
  /** False too when there is no SAN. */
  readonly sanCritical: boolean;
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  readonly basicConstraintsCritical: boolean;
  /** undefined: the extension is absent. */
  readonly keyUsage:
    | { readonly names: ReadonlySet<KeyUsageName>; readonly critical: boolean }
    | undefined;
  /** Dotted OIDs; undefined: the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Lower-case hex of the key identifiers. */
  readonly subjectKeyId: string | undefined;
  readonly authorityKeyId: string | undefined;
  /** The URIs of all full names. */
  readonly crlDistributionPoints: readonly string[];
  /** The URLs of AuthorityInfoAccess (RFC 5280 section 4.2.2.1): of responders and of the issuer. */
  readonly ocspUrls: readonly string[];
  readonly issuerUrls: readonly string[];
  /** RFC 9608. */
  readonly noRevAvail: boolean;
  /**
   * The mark of an authority of a meshca server: a root that marks, or an issuing authority that a
   * root marked. Only such authorities issue IDs below `/meshca/`.
   */
  readonly serverAuthority: boolean;
  /** Dotted OIDs of all extensions, in their order. */
  readonly extensionOids: readonly string[];
  /** Those of them that are critical. */
  readonly criticalExtensionOids: readonly string[];
  /**
   * Dotted OIDs of critical extensions that this parser does not process: a verifier must refuse
   * (RFC 5280 section 4.2).
   */
  readonly unknownCriticalExtensions: readonly string[];
  /** undefined: an algorithm that we do not verify. */
  readonly signatureAlgorithm: SignatureAlgorithm | undefined;
  /** AlgorithmIdentifier with tag and length. */
  readonly signatureAlgorithmDer: Buffer;
  readonly signature: Buffer;
}

export interface RevokedEntry {
  /** Unix seconds. */
  readonly revokedAt: number;
  /** RFC 5280 section 5.3.1; undefined where none is stated. */
  readonly reasonCode: number | undefined;
}

/** A complete CRL read by the strict parser. Buffers are views into `raw`: never write to them. */
export interface ParsedCrl {
  readonly raw: Buffer;
  readonly tbsDer: Buffer;
  readonly issuerDer: Buffer;
  /** Unix seconds, both inclusive. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly number: bigint;
  /** Lower-case hex. */
  readonly authorityKeyId: string;
  /** By serial, in the form of ParsedCertificate.serialHex. */
  readonly revoked: ReadonlyMap<string, RevokedEntry>;
  /** The CRL lists certificates with this distribution point only; undefined: it is complete. */
  readonly distributionPoint: string | undefined;
  readonly signatureAlgorithm: SignatureAlgorithm | undefined;
  readonly signatureAlgorithmDer: Buffer;
  readonly signature: Buffer;
}

export interface VerifyChainInput {
  /** Leaf first; the rest in any order (RFC 8446 section 4.4.2), at most 10. */
  readonly chainDer: readonly Buffer[];
  /** Trust anchors, self-signed or not. */
  readonly roots: readonly Buffer[];
  /** Unix seconds. */
  readonly now: number;
  /** What intermediates with an extended key usage must allow; default both. */
  readonly purpose?: 'client' | 'server';
  /**
   * If present, each certificate of the path must have a current CRL of its issuer here, which does
   * not list it; see checkRevocation. Absent: revocation is not checked.
   */
  readonly crls?: readonly ParsedCrl[];
}

export interface VerifiedChain {
  readonly leaf: ParsedCertificate;
  /** The verified path from the leaf up to, not including, the root. */
  readonly chain: readonly ParsedCertificate[];
  /** The trust anchor that the path ends in. */
  readonly root: ParsedCertificate;
}

export interface VerifySvidInput {
  /** Leaf first, as in `X509SVID.x509_svid` or a TLS Certificate message. */
  readonly chainDer: readonly Buffer[];
  /**
   * The roots (DER) of a trust domain, or undefined if it is not known. Only the leaf's own trust
   * domain is asked for.
   */
  readonly bundle: (trustDomainName: string) => readonly Buffer[] | undefined;
  /** Unix seconds. */
  readonly now: number;
  readonly purpose?: 'client' | 'server';
  /** CRLs of the leaf's trust domain, by its name; undefined: revocation is not looked at there. */
  readonly crls?: (trustDomainName: string) => readonly ParsedCrl[] | undefined;
}

export interface VerifiedSvid extends VerifiedChain {
  readonly id: SpiffeId;
}
