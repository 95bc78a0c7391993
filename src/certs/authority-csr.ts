import type { TrustDomain } from '../common/spiffe/index.ts';
import { derWriter, signatureAlgorithmFor, type KeyType } from '../common/x509/index.ts';
import { authorityIdentity } from './subject.ts';
import { authoritySubject } from './authority-tbs.ts';
import { basicConstraints, keyUsage, serverAuthority, subjectAltName } from './fields.ts';
import { keyUsageFor, profiles } from './profiles.ts';

const { bitString, context, integer, oid, sequence, setOf } = derWriter;

const extensionRequest = oid('1.2.840.113549.1.9.14');

/**
 * The CertificationRequestInfo (RFC 2986, section 4.1) for an issuing intermediate that another CA
 * signs. Name and extensions are those of our own profile, for CAs that copy them. The mark of an
 * authority of a server is among them. `checkAuthorityChain` judges the returned certificate.
 */
export function buildAuthorityCsr(input: {
  readonly trustDomain: TrustDomain;
  readonly spkiDer: Buffer;
}): Buffer {
  const { pathLength } = profiles.intermediate;
  const extensions = sequence(
    basicConstraints(true, pathLength),
    keyUsage(keyUsageFor('intermediate', input.spkiDer)),
    subjectAltName(false, authorityIdentity(input.trustDomain)),
    serverAuthority(),
  );
  return sequence(
    integer(0),
    authoritySubject(input.trustDomain.name, 'intermediate', input.spkiDer),
    input.spkiDer,
    context(0, sequence(extensionRequest, setOf(extensions))),
  );
}

/** The request: its info and a signature with the key in it. */
export const assembleCsr = (infoDer: Buffer, keyType: KeyType, signature: Buffer): Buffer =>
  sequence(infoDer, signatureAlgorithmFor(keyType).algorithmIdentifierDer, bitString(signature));
