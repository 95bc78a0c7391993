import { hash } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { parseCertificate } from './certificate.ts';
import { checkRevocation } from './crl.ts';
import { checkSignature } from './signature-check.ts';
import type { ParsedCertificate, VerifiedChain, VerifyChainInput } from './types.ts';

const maximumChain = 10;
/**
 * Limits of the paths and links that are checked for one chain, and so of the cost of cross-signed
 * junk.
 */
const maximumPaths = 32;
const maximumLinksTried = 512;

const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';
const anyExtendedKeyUsage = '2.5.29.37.0';
const nameConstraints = '2.5.29.30';

/**
 * Path validation (RFC 5280 section 6.1) from a leaf to one of the roots. Names chain byte for
 * byte, and key identifiers must agree if both are stated. Every CA must have cA and keyCertSign.
 * Its pathLen counts each intermediate below it. A CA with name constraints is refused, since they
 * are not evaluated. Fails with CERTIFICATE_MALFORMED, CERTIFICATE_EXPIRED,
 * CERTIFICATE_NOT_YET_VALID or CHAIN_UNTRUSTED. With `crls` also CERTIFICATE_REVOKED and
 * REVOCATION_UNKNOWN.
 */
export function verifyChain(input: VerifyChainInput): Result<VerifiedChain> {
  const [leafDer] = input.chainDer;
  if (leafDer === undefined) return fail('CERTIFICATE_MALFORMED', 'the chain is empty');
  const leaf = parseCertificate(leafDer);
  return leaf.ok ? verifyFrom(leaf.value, input) : leaf;
}

/** `verifyChain` for a parsed leaf. */
export function verifyFrom(
  leaf: ParsedCertificate,
  input: VerifyChainInput,
): Result<VerifiedChain> {
  if (input.chainDer.length > maximumChain)
    return fail('CHAIN_UNTRUSTED', `the chain has more than ${maximumChain} certificates`);
  const timely = checkValidity(leaf, 'the certificate', input.now);
  if (!timely.ok) return timely;
  const rejected =
    unmetCritical(leaf, 'the certificate') ??
    (usable(leaf, input.purpose)
      ? undefined
      : fail(
          'CHAIN_UNTRUSTED',
          'the extended key usage of the certificate does not allow this purpose',
        ));
  if (rejected !== undefined) return rejected;
  const pool: ParsedCertificate[] = [];
  for (const der of input.chainDer.slice(1)) {
    const parsed = parseCertificate(der);
    if (!parsed.ok) return parsed;
    pool.push(parsed.value);
  }
  const roots = input.roots.map(parseRoot).filter((root) => root !== undefined);
  let firstFailure: Result<VerifiedChain> | undefined;
  let paths = 0;
  for (const { path, root } of candidates([leaf], pool, roots, { left: maximumLinksTried })) {
    paths += 1;
    if (paths > maximumPaths) return fail('CHAIN_UNTRUSTED', 'the chain allows too many paths');
    const verdict = checkPath(path, root, input);
    if (verdict.ok) return ok({ leaf, chain: path, root });
    firstFailure ??= verdict;
  }
  return firstFailure ?? fail('CHAIN_UNTRUSTED', 'the chain does not lead to a root in the bundle');
}

interface Candidate {
  readonly path: readonly ParsedCertificate[];
  readonly root: ParsedCertificate;
}

/** Paths that fit by name and key identifier, shortest way to a root first. */
function* candidates(
  path: readonly ParsedCertificate[],
  pool: readonly ParsedCertificate[],
  roots: readonly ParsedCertificate[],
  tries: { left: number },
): Generator<Candidate> {
  const last = path[path.length - 1] as ParsedCertificate;
  for (const root of roots) if (mayHaveIssued(root, last)) yield { path, root };
  for (const next of pool) {
    if (tries.left === 0) return;
    tries.left -= 1;
    // a key that is on the path already can only lengthen it (RFC 5280 section 6.1: no certificate
    // twice)
    if (mayHaveIssued(next, last) && !path.some((each) => each.spkiDer.equals(next.spkiDer)))
      yield* candidates([...path, next], pool, roots, tries);
  }
}

const mayHaveIssued = (issuer: ParsedCertificate, child: ParsedCertificate): boolean =>
  issuer.subjectDer.equals(child.issuerDer) &&
  (child.authorityKeyId === undefined ||
    issuer.subjectKeyId === undefined ||
    child.authorityKeyId === issuer.subjectKeyId);

/**
 * Checks from the root down, so that each key is used only after a trusted key has certified it.
 */
function checkPath(
  path: readonly ParsedCertificate[],
  root: ParsedCertificate,
  { now, purpose, crls }: VerifyChainInput,
): Result<void> {
  if (now < root.notBefore || now > root.notAfter)
    return fail('CHAIN_UNTRUSTED', 'the root of the chain is not valid now');
  const rootFailure = checkAuthority(root, 'the root of the chain', path.length - 1, purpose);
  if (rootFailure !== undefined) return rootFailure;
  let issuer = root;
  for (let index = path.length - 1; index >= 0; index -= 1) {
    const current = path[index] as ParsedCertificate;
    if (index > 0) {
      const timely = checkValidity(current, 'an intermediate', now);
      if (!timely.ok) return timely;
      if (current.keyUsage === undefined)
        return fail('CHAIN_UNTRUSTED', 'an intermediate has no key usage');
      const failure = checkAuthority(current, 'an intermediate', index - 1, purpose);
      if (failure !== undefined) return failure;
    }
    const signed = checkSignature(current, issuer);
    if (!signed.ok) return signed;
    issuer = current;
  }
  return crls === undefined ? ok(undefined) : checkRevocation(path, root, crls, now);
}

function checkAuthority(
  authority: ParsedCertificate,
  what: string,
  intermediatesBelow: number,
  purpose: VerifyChainInput['purpose'],
): ReturnType<typeof fail> | undefined {
  if (!authority.isCa) return fail('CHAIN_UNTRUSTED', `${what} is not a CA`);
  if (authority.keyUsage?.names.has('keyCertSign') === false)
    return fail('CHAIN_UNTRUSTED', `${what} may not sign certificates`);
  if (authority.pathLength !== undefined && intermediatesBelow > authority.pathLength)
    return fail(
      'CHAIN_UNTRUSTED',
      `${what} allows ${authority.pathLength} intermediates below it, there are ${intermediatesBelow}`,
    );
  if (!usable(authority, purpose))
    return fail('CHAIN_UNTRUSTED', `the extended key usage of ${what} does not allow this purpose`);
  if (authority.extensionOids.includes(nameConstraints))
    return fail('CHAIN_UNTRUSTED', `${what} has name constraints, which are not supported`);
  return unmetCritical(authority, what);
}

function unmetCritical(
  certificate: ParsedCertificate,
  what: string,
): ReturnType<typeof fail> | undefined {
  const [first] = certificate.unknownCriticalExtensions;
  return first === undefined
    ? undefined
    : fail(
        'CHAIN_UNTRUSTED',
        `${what} has the critical extension ${first}, which is not supported`,
      );
}

function usable(
  { extendedKeyUsage }: ParsedCertificate,
  purpose: VerifyChainInput['purpose'],
): boolean {
  if (extendedKeyUsage === undefined || extendedKeyUsage.includes(anyExtendedKeyUsage)) return true;
  return (
    (purpose === 'client' || extendedKeyUsage.includes(serverAuth)) &&
    (purpose === 'server' || extendedKeyUsage.includes(clientAuth))
  );
}

function checkValidity(certificate: ParsedCertificate, what: string, now: number): Result<void> {
  const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
  const judged = `the clock that judges it says ${iso(now)}`;
  if (now < certificate.notBefore)
    return fail(
      'CERTIFICATE_NOT_YET_VALID',
      `${what} is valid from ${iso(certificate.notBefore)} on, and ${judged}`,
    );
  if (now > certificate.notAfter)
    return fail(
      'CERTIFICATE_EXPIRED',
      `${what} expired at ${iso(certificate.notAfter)}, and ${judged}`,
    );
  return ok(undefined);
}

/**
 * Parsed roots by digest. Roots come from bundles and never from a peer. So no peer can fill this
 * map.
 */
const parsedRoots = new Map<string, ParsedCertificate>();
const maximumRoots = 256;

/**
 * Undefined for a root that can't be parsed. It anchors nothing, and does not affect the other
 * roots of its bundle.
 */
function parseRoot(der: Buffer): ParsedCertificate | undefined {
  const digest = hash('sha256', der, 'base64');
  const known = parsedRoots.get(digest);
  if (known !== undefined) return known;
  // a copy, since the parsed views must not change with the caller's buffer
  const parsed = parseCertificate(Buffer.from(der));
  if (!parsed.ok) return undefined;
  if (parsedRoots.size >= maximumRoots)
    parsedRoots.delete(parsedRoots.keys().next().value as string);
  parsedRoots.set(digest, parsed.value);
  return parsed.value;
}
