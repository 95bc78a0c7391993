import { PkiError } from '../../common/errors/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';

const next =
  'If you expect this root, add it to authorities.upstream.rootSha256 (if that is empty, ' +
  'name the present root there too) and restart; the new root then waits for "meshca ' +
  'authority publish" or "activate". If you do not expect it, find out who changed the root ' +
  'of the upstream. The present intermediate signs meanwhile.';

/** The upstream has another root than those that the mesh trusts, and nobody named it. */
export const rootChanged = (rootDer: Buffer, trusted: readonly Buffer[]): PkiError =>
  new PkiError(
    'CHAIN_UNTRUSTED',
    `the root of the upstream changed: its chain ends in ${sha256Hex(rootDer)}, the mesh ` +
      `trusts ${trusted.map(sha256Hex).join(', ')}`,
    { next },
  );

/**
 * An attacker who controls the upstream could certify us below his own root, and the mesh would
 * come to trust that root. `named`: SHA-256 in hex; empty: any root.
 *
 * @throws PkiError CHAIN_UNTRUSTED
 */
export function requireNamedRoot(chain: readonly Buffer[], named: readonly string[]): void {
  if (named.length === 0) return;
  const roots = chain
    .filter((der) => {
      const parsed = parseCertificate(der);
      return parsed.ok && parsed.value.subjectDer.equals(parsed.value.issuerDer);
    })
    .map(sha256Hex);
  if (roots.length === 0)
    throw new PkiError('CHAIN_UNTRUSTED', 'the chain of the upstream comes without its root', {
      next:
        'Import the certificate of the root into the PKI mount of the upstream, so that its ' +
        'ca_chain ends in it. It is asked again by itself.',
    });
  const foreign = roots.find((sha256) => !named.includes(sha256));
  if (foreign !== undefined)
    throw new PkiError(
      'CHAIN_UNTRUSTED',
      `the chain of the upstream ends in the root ${foreign}, ` +
        `authorities.upstream.rootSha256 names ${named.join(', ')}`,
      { next },
    );
}
