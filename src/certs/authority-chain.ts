import { fail, ok, type Result } from '../common/errors/index.ts';
import { SpiffeId, type TrustDomain } from '../common/spiffe/index.ts';
import {
  keyTypeOfSpki,
  parseCertificate,
  sha256Hex,
  verifyChain,
  type ParsedCertificate,
} from '../common/x509/index.ts';

export interface AuthorityChainInput {
  /** The authority's certificate, the intermediates above it, and its root, in any order. */
  readonly certificatesDer: readonly Buffer[];
  /** SubjectPublicKeyInfo of the authority's key, from its token. */
  readonly spkiDer: Buffer;
  readonly trustDomain: TrustDomain;
  /** Unix seconds. */
  readonly now: number;
  /**
   * Seconds of life that an imported authority must have left. Otherwise leaves would be cut before
   * it can be rotated.
   */
  readonly minimumLifeSeconds: number;
  /** The planned life in seconds. A shorter one is a warning. */
  readonly plannedLifeSeconds: number;
}

export interface AuthorityChain {
  readonly authority: ParsedCertificate;
  /** From the authority's issuer upwards, without the root. */
  readonly above: readonly ParsedCertificate[];
  readonly root: ParsedCertificate;
  /** Sentences about harmless differences from our own profile. */
  readonly warnings: readonly string[];
}

const maximumCertificates = 10;
const nameConstraints = '2.5.29.30';
const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';
const anyExtendedKeyUsage = '2.5.29.37.0';

/**
 * Checks whether certificates of another CA can serve as an authority of ours. Their profile
 * differs from ours. Therefore this requires what our promises and the verifiers of the mesh need,
 * and warns of the rest:
 *
 * - The key is ours. The certificate has CA and keyCertSign.
 * - The chain ends in a self-signed root, and every pathLen leaves room for the leaves below.
 * - There are no name constraints, since the verifiers of the mesh refuse them.
 * - Nothing has expired, and no certificate above ends before the authority: its leaves would end
 *   with the parent.
 *
 * Fails with CERTIFICATE_MALFORMED, CERTIFICATE_KEY_MISMATCH, CERTIFICATE_EXPIRED,
 * CERTIFICATE_NOT_YET_VALID, CHAIN_UNTRUSTED, KEY_UNSUPPORTED, ISSUER_LIFETIME or AUTHORITY_UNFIT.
 */
export function checkAuthorityChain(input: AuthorityChainInput): Result<AuthorityChain> {
  const parsed = parseAll(input.certificatesDer);
  if (!parsed.ok) return parsed;
  const all = parsed.value;
  const authority = all.find((certificate) => certificate.spkiDer.equals(input.spkiDer));
  if (authority === undefined) {
    return fail(
      'CERTIFICATE_KEY_MISMATCH',
      `none of the ${all.length} certificates is for the key of this authority (SHA-256 of ` +
        `its public key: ${sha256Hex(input.spkiDer)})`,
    );
  }
  const unfit = ownProblem(authority, input);
  if (unfit !== undefined) return fail('AUTHORITY_UNFIT', unfit);
  const inTime = checkTimes(all, authority, input.now);
  if (!inTime.ok) return inTime;
  const chain = findChain(all, authority, input.now);
  if (!chain.ok) return chain;
  const { above, root } = chain.value;
  const problem = parentProblem(authority, [...above, root]);
  if (problem !== undefined) return fail(problem.code, problem.message);
  const life = authority.notAfter - input.now;
  if (life < input.minimumLifeSeconds) {
    return fail(
      'ISSUER_LIFETIME',
      `the authority would end at ${instant(authority.notAfter)}, in ${life} s; at least ` +
        `${input.minimumLifeSeconds} s (three times the longest leaf) must be left`,
      { next: 'Have it certified for longer, or lower the longest leaf TTL in the configuration.' },
    );
  }
  const unused = all.length - above.length - 2;
  return ok({
    authority,
    above,
    root,
    warnings: warningsOf(chain.value, authority, input, unused),
  });
}

function parseAll(certificatesDer: readonly Buffer[]): Result<readonly ParsedCertificate[]> {
  if (certificatesDer.length === 0) return fail('CERTIFICATE_MALFORMED', 'there is no certificate');
  if (certificatesDer.length > maximumCertificates)
    return fail(
      'CERTIFICATE_MALFORMED',
      `there are ${certificatesDer.length} certificates, more than ${maximumCertificates}`,
    );
  const parsed: ParsedCertificate[] = [];
  for (const der of certificatesDer) {
    const certificate = parseCertificate(der);
    if (!certificate.ok) return certificate;
    parsed.push(certificate.value);
  }
  return ok(parsed);
}

function checkTimes(
  all: readonly ParsedCertificate[],
  authority: ParsedCertificate,
  now: number,
): Result<void> {
  for (const certificate of all) {
    if (now > certificate.notAfter)
      return fail(
        'CERTIFICATE_EXPIRED',
        `${named(certificate, authority)} expired at ${instant(certificate.notAfter)}`,
        { next: 'Renew that CA first, then have the authority certified by it.' },
      );
    if (now < certificate.notBefore)
      return fail(
        'CERTIFICATE_NOT_YET_VALID',
        `${named(certificate, authority)} is not valid before ${instant(certificate.notBefore)}`,
      );
  }
  return ok(undefined);
}

/** The certificates from the authority's issuer up to a self-signed root. */
function findChain(
  all: readonly ParsedCertificate[],
  authority: ParsedCertificate,
  now: number,
): Result<Pick<AuthorityChain, 'above' | 'root'>> {
  const roots = all.filter(
    (certificate) =>
      certificate !== authority && certificate.subjectDer.equals(certificate.issuerDer),
  );
  if (roots.length === 0)
    return fail('CHAIN_UNTRUSTED', 'there is no self-signed root among the certificates', {
      next:
        'Give the whole chain in one file: the certificate of the authority, the ' +
        'intermediates above it, and the root.',
    });
  const rest = all.filter(
    (certificate) => certificate !== authority && !roots.includes(certificate),
  );
  const verified = verifyChain({
    chainDer: [authority.raw, ...rest.map((certificate) => certificate.raw)],
    roots: roots.map((certificate) => certificate.raw),
    now,
  });
  if (!verified.ok)
    return fail(verified.error.code, verified.error.message, {
      next:
        'Check that each certificate was signed by the next one, with an accepted algorithm, ' +
        'and that all of the chain is in the file.',
    });
  const { chain, root } = verified.value;
  const selfSigned = verifyChain({ chainDer: [root.raw], roots: [root.raw], now });
  return selfSigned.ok
    ? ok({ above: chain.slice(1), root })
    : fail('CHAIN_UNTRUSTED', `the root is not signed by its own key: ${selfSigned.error.message}`);
}

function ownProblem(
  authority: ParsedCertificate,
  { trustDomain }: AuthorityChainInput,
): string | undefined {
  if (!authority.isCa) return 'the certificate is not one of a CA (basicConstraints)';
  if (!authority.basicConstraintsCritical)
    return 'its basicConstraints are not critical (RFC 5280 section 4.2.1.9)';
  if (authority.keyUsage?.names.has('keyCertSign') !== true)
    return 'its key usage lacks keyCertSign';
  if (authority.extensionOids.includes(nameConstraints))
    return 'it has name constraints, which the verifiers of the mesh refuse';
  const [unknown] = authority.unknownCriticalExtensions;
  if (unknown !== undefined)
    return `it has the critical extension ${unknown}, which the verifiers of the mesh refuse`;
  const usage = authority.extendedKeyUsage;
  if (
    usage !== undefined &&
    !usage.includes(anyExtendedKeyUsage) &&
    !(usage.includes(serverAuth) && usage.includes(clientAuth))
  )
    return 'its extended key usage does not allow both serverAuth and clientAuth';
  if (authority.subjectDer.length === 2) return 'it has no subject';
  if (authority.subjectDer.equals(authority.issuerDer))
    return 'it has the name of its issuer: a self-signed certificate is a root, not an intermediate';
  if (authority.subjectKeyId === undefined)
    return 'it has no subject key identifier, which the certificates below it must name';
  for (const uri of authority.uriSans) {
    const id = SpiffeId.parse(uri);
    if (!id.ok) continue;
    if (!id.value.trustDomain.equals(trustDomain))
      return `it is for the trust domain ${id.value.trustDomain.name}, not for ${trustDomain.name}`;
    if (id.value.path !== '')
      return `its SPIFFE ID ${uri} has a path: that of a workload, not of an authority`;
  }
  return undefined;
}

function parentProblem(
  authority: ParsedCertificate,
  parents: readonly ParsedCertificate[],
):
  | {
      readonly code: 'AUTHORITY_UNFIT' | 'KEY_UNSUPPORTED' | 'ISSUER_LIFETIME';
      readonly message: string;
    }
  | undefined {
  for (const [index, parent] of parents.entries()) {
    const name = index === parents.length - 1 ? 'the root' : 'an intermediate above it';
    // verifyChain counted our authority as the leaf: the real leaves are one level further down
    if (parent.pathLength !== undefined && parent.pathLength < index + 1)
      return {
        code: 'AUTHORITY_UNFIT',
        message: `${name} has pathLen ${parent.pathLength}, and ${index + 1} CAs would be below it`,
      };
    const keyType = keyTypeOfSpki(parent.spkiDer);
    if (!keyType.ok)
      return {
        code: 'KEY_UNSUPPORTED',
        message: `${name} has a key that this CA does not work with: ${keyType.error.message}`,
      };
    if (parent.notAfter < authority.notAfter)
      return {
        code: 'ISSUER_LIFETIME',
        message:
          `${name} ends at ${instant(parent.notAfter)}, before the authority ` +
          `(${instant(authority.notAfter)}): leaves would end with it`,
      };
  }
  return undefined;
}

function warningsOf(
  { above, root }: Pick<AuthorityChain, 'above' | 'root'>,
  authority: ParsedCertificate,
  { now, plannedLifeSeconds }: AuthorityChainInput,
  unused: number,
): readonly string[] {
  const warnings: string[] = [];
  if (authority.keyUsage?.names.has('cRLSign') !== true)
    warnings.push(
      'its key usage lacks cRLSign: no CRL of it can be published, so that the revocable profile can not be used',
    );
  if (authority.pathLength !== 0)
    warnings.push(
      `its pathLen is ${authority.pathLength ?? 'absent'}, not 0: its key could sign more than leaves`,
    );
  if (authority.uriSans.length === 0)
    warnings.push(
      'it does not name the trust domain (URI SAN): some validators of X.509-SVIDs require it',
    );
  if (authority.dnsSans.length + authority.otherSanKinds.length > 0)
    warnings.push('it has names beside its SPIFFE ID');
  if (authority.keyUsage?.critical !== true) warnings.push('its key usage is not critical');
  if (authority.notAfter - now < plannedLifeSeconds * 0.9)
    warnings.push(
      `it lives ${Math.floor((authority.notAfter - now) / 86_400)} days, less than the ` +
        `${Math.floor(plannedLifeSeconds / 86_400)} that are configured`,
    );
  if (authority.crlDistributionPoints.length === 0)
    warnings.push('it names no CRL: if it is stolen, only replacing the root stops it');
  if (!authority.serverAuthority || ![...above, root].every((parent) => parent.serverAuthority))
    warnings.push(
      "agents can not see by its mark that it is this server's: give them " +
        'bootstrap.issuerFingerprint, which "meshca token create" prints',
    );
  if (unused > 0)
    warnings.push(`${unused} of the certificates do not belong to the chain and are left out`);
  return warnings;
}

const named = (certificate: ParsedCertificate, authority: ParsedCertificate): string =>
  certificate === authority
    ? 'the certificate of the authority'
    : certificate.subjectDer.equals(certificate.issuerDer)
      ? 'the root'
      : 'an intermediate above it';
const instant = (seconds: number): string =>
  new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
