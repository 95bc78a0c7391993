import { derWriter, type ParsedCertificate } from '../common/x509/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import { authoritySubject } from './authority-tbs.ts';
import {
  authorityKeyId,
  basicConstraints,
  extendedKeyUsage,
  extensionOids,
  keyUsage,
  ocspNoCheck,
  serialNumber,
  signatureAlgorithmDer,
  subjectKeyId,
  validity,
  version3,
} from './fields.ts';
import { profiles } from './profiles.ts';

const { context, sequence } = derWriter;

export interface OcspSignerInput {
  readonly serial: Buffer;
  readonly issuer: ParsedCertificate;
  readonly spkiDer: Buffer;
  readonly trustDomain: TrustDomain;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** O=meshca, CN=`<trust domain> OCSP signer`, serialNumber=first 8 octets of the key identifier. */
export const ocspSignerSubject = (trustDomain: TrustDomain, spkiDer: Buffer): Buffer =>
  authoritySubject(trustDomain.name, 'ocsp-signer', spkiDer);

/**
 * The TBSCertificate of a delegated signer of OCSP answers (RFC 6960, section 4.2.2.2). It has
 * id-pkix-ocsp-nocheck, so that clients do not ask whether the signer is revoked: its short life
 * takes that place (section 4.2.2.2.1). It must pass `lint` before it is signed.
 *
 * @throws PkiError LINT_FAILED if the input contradicts the profile
 */
export function buildOcspSignerTbs(input: OcspSignerInput): Buffer {
  const { issuer, spkiDer } = input;
  const rules = profiles['ocsp-signer'];
  return sequence(
    version3,
    serialNumber(input.serial),
    signatureAlgorithmDer(issuer.spkiDer),
    issuer.subjectDer,
    validity(input.notBefore, input.notAfter),
    ocspSignerSubject(input.trustDomain, spkiDer),
    spkiDer,
    context(
      3,
      sequence(
        keyUsage(rules.keyUsage.ec),
        extendedKeyUsage(rules.extendedKeyUsage),
        basicConstraints(false, undefined),
        authorityKeyId(issuer),
        subjectKeyId(spkiDer),
        ocspNoCheck(),
      ),
    ),
  );
}

const ocspSigning = '1.3.6.1.5.5.7.3.9';

/**
 * Why this certificate may not sign answers for the certificates of this issuer. Undefined: it may.
 * The signature on it is not verified here.
 */
export function ocspSignerProblem(
  signer: ParsedCertificate,
  issuer: ParsedCertificate,
): string | undefined {
  if (!signer.issuerDer.equals(issuer.subjectDer) || signer.authorityKeyId !== issuer.subjectKeyId)
    return 'its signer was not certified by the issuer of the certificate';
  if (signer.isCa || signer.extendedKeyUsage?.join() !== ocspSigning)
    return 'its signer may not sign OCSP answers';
  if (signer.keyUsage?.names.has('digitalSignature') !== true)
    return 'the key of its signer may not sign';
  return signer.extensionOids.includes(extensionOids.ocspNoCheck)
    ? undefined
    : 'the certificate of its signer lacks id-pkix-ocsp-nocheck';
}
