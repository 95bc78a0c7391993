import { fail, ok, type Result } from '../errors/index.ts';
import { SpiffeId } from '../spiffe/index.ts';
import { parseCertificate } from './certificate.ts';
import { verifyFrom } from './chain.ts';
import type { ParsedCertificate, VerifiedSvid, VerifySvidInput } from './types.ts';

const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';

/**
 * Verifies an X.509-SVID and its chain to the bundle of the leaf's own trust domain (X.509-SVID
 * specification sections 2 to 5, RFC 5280 section 6). Fails with CERTIFICATE_MALFORMED,
 * SVID_INVALID, CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID or CHAIN_UNTRUSTED; with `crls` also
 * CERTIFICATE_REVOKED and REVOCATION_UNKNOWN. The caller still has to decide whether this ID is the
 * one he wants.
 */
export function verifyX509Svid(input: VerifySvidInput): Result<VerifiedSvid> {
  const [leafDer] = input.chainDer;
  if (leafDer === undefined) return fail('CERTIFICATE_MALFORMED', 'the chain is empty');
  const leaf = parseCertificate(leafDer);
  if (!leaf.ok) return leaf;
  const id = svidIdOf(leaf.value);
  if (!id.ok) return id;
  const roots = input.bundle(id.value.trustDomain.name);
  if (roots === undefined)
    return fail(
      'CHAIN_UNTRUSTED',
      `no bundle is known for the trust domain ${id.value.trustDomain.name}`,
    );
  const { purpose, chainDer, now } = input;
  const crls = input.crls?.(id.value.trustDomain.name);
  const verified = verifyFrom(leaf.value, {
    chainDer,
    roots,
    now,
    ...(purpose === undefined ? {} : { purpose }),
    ...(crls === undefined ? {} : { crls }),
  });
  return verified.ok ? ok({ id: id.value, ...verified.value }) : verified;
}

/**
 * The SPIFFE ID of a leaf after checking the rules for leaf SVIDs, without chain and time. Fails
 * with SVID_INVALID.
 */
function svidIdOf(leaf: ParsedCertificate): Result<SpiffeId> {
  if (leaf.isCa)
    return fail('SVID_INVALID', 'the certificate is a CA, a leaf must not be one (4.1)');
  const usage = leaf.keyUsage;
  if (usage === undefined || !usage.critical)
    return fail('SVID_INVALID', 'the key usage is missing or not critical (4.3)');
  if (usage.names.has('keyCertSign') || usage.names.has('cRLSign'))
    return fail('SVID_INVALID', 'a leaf must not have keyCertSign or cRLSign (4.3)');
  if (!usage.names.has('digitalSignature'))
    return fail('SVID_INVALID', 'a leaf must have digitalSignature (4.3)');
  const extended = leaf.extendedKeyUsage;
  if (extended !== undefined && !(extended.includes(serverAuth) && extended.includes(clientAuth)))
    return fail('SVID_INVALID', 'the extended key usage lacks serverAuth or clientAuth (4.4)');
  if (leaf.uriSans.length !== 1)
    return fail(
      'SVID_INVALID',
      `the certificate has ${leaf.uriSans.length} URI SANs, it must have exactly one (2)`,
    );
  const id = SpiffeId.parse(leaf.uriSans[0] as string);
  if (!id.ok) return fail('SVID_INVALID', id.error.message);
  if (id.value.path === '')
    return fail('SVID_INVALID', 'the SPIFFE ID of a leaf must have a path (4.1)');
  return id;
}
