import type { ParsedCertificate } from '../common/x509/index.ts';
import type { CrlReason } from './types.ts';

/** The hashes of a CertID that are answered: RFC 5019 demands SHA-1, newer clients use SHA-256. */
export const ocspHashes = ['sha1', 'sha256'] as const;
export type OcspHash = (typeof ocspHashes)[number];

/** The certificate that a client asks about: CertID (RFC 6960, section 4.1.1). */
export interface OcspCertId {
  /** undefined: another hash, of which there are no answers. */
  readonly hash: OcspHash | undefined;
  readonly issuerNameHash: Buffer;
  readonly issuerKeyHash: Buffer;
  /** Without leading zero octets. */
  readonly serialHex: string;
}

/** The content of one answer. Times are Unix seconds. */
export interface OcspAnswer {
  readonly serialHex: string;
  /** undefined: the certificate is good. */
  readonly revoked: { readonly at: number; readonly reason: CrlReason | undefined } | undefined;
  readonly producedAt: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/** Who answers: the delegated signer, and the issuer of the certificates and of the signer. */
export interface OcspResponder {
  readonly issuer: ParsedCertificate;
  readonly signer: ParsedCertificate;
}

/** Statuses of an answer without a signature (RFC 6960, section 4.2.1). */
export const ocspErrors = {
  malformedRequest: 1,
  internalError: 2,
  tryLater: 3,
  unauthorized: 6,
} as const;
export type OcspError = keyof typeof ocspErrors;
