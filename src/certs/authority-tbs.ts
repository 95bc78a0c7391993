import { PkiError } from '../common/errors/index.ts';
import { derWriter, keyIdentifierOf, sha256Hex, tag } from '../common/x509/index.ts';
import { authorityIdentity } from './subject.ts';
import {
  authorityKeyId,
  basicConstraints,
  crlDistributionPoint,
  extendedKeyUsage,
  keyUsage,
  serialNumber,
  serverAuthority,
  signatureAlgorithmDer,
  subjectAltName,
  subjectKeyId,
  validity,
  version3,
} from './fields.ts';
import { hasMark, keyUsageFor, rulesOf } from './profiles.ts';
import type { AuthorityInput } from './types.ts';

const { context, der, oid, sequence, setOf, utf8String } = derWriter;

/**
 * The TBSCertificate of an authority. Its subject names the trust domain, the kind and the key, so
 * that no two authorities share a DN. The ID of the trust domain is in a URI SAN (X.509-SVID
 * specification, section 4.1); an authority of names has none, and its subject says so. It must pass `lint` before it is signed.
 *
 * @throws PkiError LINT_FAILED if the input contradicts the profile
 */
export function buildAuthorityTbs(input: AuthorityInput): Buffer {
  const { profile, issuer, spkiDer, trustDomain, crlUrl, names = false } = input;
  const rules = rulesOf(profile, names);
  if ((profile === 'root') !== (issuer === undefined))
    throw new PkiError(
      'LINT_FAILED',
      profile === 'root' ? 'a root is self-signed' : 'an intermediate needs an issuer',
    );
  if (crlUrl !== undefined && rules.crlDistributionPoint === 'forbidden')
    throw new PkiError('LINT_FAILED', `the profile ${profile} does not allow a CRL URL`);
  if ((profile === 'cross') !== (input.subjectDer !== undefined))
    throw new PkiError(
      'LINT_FAILED',
      'only a cross-certificate takes the name of the root that it certifies',
    );
  const subjectDer =
    input.subjectDer ??
    authoritySubject(
      trustDomain.name,
      `${names ? 'names-' : ''}${profile === 'root' ? 'root' : 'intermediate'}` as const,
      spkiDer,
    );
  const extensions = [
    basicConstraints(true, rules.pathLength),
    keyUsage(keyUsageFor(profile, spkiDer)),
    subjectKeyId(spkiDer),
    ...(issuer === undefined ? [] : [authorityKeyId(issuer)]),
    ...(rules.extendedKeyUsage.length === 0 ? [] : [extendedKeyUsage(rules.extendedKeyUsage)]),
    ...(names ? [] : [subjectAltName(false, authorityIdentity(trustDomain))]),
    ...(crlUrl === undefined ? [] : [crlDistributionPoint(crlUrl)]),
    ...(hasMark(profile, { ofSubject: input.subjectMarked, names }) ? [serverAuthority()] : []),
  ];
  return sequence(
    version3,
    serialNumber(input.serial),
    signatureAlgorithmDer(issuer?.spkiDer ?? spkiDer),
    issuer?.subjectDer ?? subjectDer,
    validity(input.notBefore, input.notAfter),
    subjectDer,
    spkiDer,
    context(3, sequence(...extensions)),
  );
}

const organizationName = oid('2.5.4.10');
const commonName = oid('2.5.4.3');
const serialNumberAttribute = oid('2.5.4.5');
/** ub-common-name (RFC 5280 appendix A.1). */
const maximumCommonName = 64;
const kindNames = {
  root: 'root CA',
  intermediate: 'issuing CA',
  'names-root': 'names root CA',
  'names-intermediate': 'names issuing CA',
  'ocsp-signer': 'OCSP signer',
} as const;

/** O=meshca, CN=`<trust domain> <kind name>`, serialNumber=first 8 octets of the key identifier. */
export function authoritySubject(
  trustDomainName: string,
  kind: keyof typeof kindNames,
  spkiDer: Buffer,
): Buffer {
  const suffix = ` ${kindNames[kind]}`;
  const room = maximumCommonName - suffix.length;
  // A longer name is cut and ends with its digest. The SAN has the full name.
  const name =
    trustDomainName.length <= room
      ? trustDomainName
      : `${trustDomainName.slice(0, room - 9)}-${sha256Hex(Buffer.from(trustDomainName)).slice(0, 8)}`;
  return sequence(
    setOf(sequence(organizationName, utf8String('meshca'))),
    setOf(sequence(commonName, utf8String(name + suffix))),
    setOf(
      sequence(
        serialNumberAttribute,
        der(tag.printableString, Buffer.from(keyIdentifierOf(spkiDer).toString('hex', 0, 8))),
      ),
    ),
  );
}
