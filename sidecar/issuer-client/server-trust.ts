import type { TLSSocket } from 'node:tls';
import { PkiError } from '../../src/common/errors/index.ts';
import { serverId, type TrustDomain } from '../../src/common/spiffe/index.ts';
import { parseCertificate, sha256Hex, verifyX509Svid } from '../../src/common/x509/index.ts';

/** How the server proves to be the CA. */
export type ServerTrust =
  | { readonly kind: 'bundle'; readonly roots: () => readonly Buffer[] }
  /** SHA-256 (hex) of roots in DER; the server sends one of them at the end of its chain. */
  | { readonly kind: 'fingerprint'; readonly rootsSha256Hex: readonly string[] }
  /** Believes whoever answers. Only by explicit configuration, only for the first attestation. */
  | { readonly kind: 'insecure' };

export interface VerifiedServer {
  /** SHA-256 of the server's certificate, as attestation binds to it. */
  readonly leafSha256: Buffer;
  readonly chainDer: readonly Buffer[];
}

/**
 * Verifies the server of a finished TLS handshake: TLS 1.3, no resumption, the exact ID
 * spiffe://td/meshca/server, and its chain to what this agent trusts. Throws SERVER_UNTRUSTED.
 * Nothing may be sent before this returns.
 */
export function verifyServer(
  socket: TLSSocket,
  trustDomain: TrustDomain,
  trust: ServerTrust,
  now: number,
): VerifiedServer {
  if (socket.getProtocol() !== 'TLSv1.3')
    throw untrusted(`the server speaks ${socket.getProtocol() ?? 'no TLS'}, not TLS 1.3`);
  if (socket.isSessionReused())
    throw untrusted('the TLS session was resumed, so that no certificate was shown');
  if (socket.alpnProtocol !== 'h2') throw untrusted('the server does not speak HTTP/2');
  const chainDer = sentChain(socket);
  const [leafDer] = chainDer;
  if (leafDer === undefined) throw untrusted('the server showed no certificate');
  const wanted = serverId(trustDomain);
  const verified = { leafSha256: Buffer.from(sha256Hex(leafDer), 'hex'), chainDer };
  if (trust.kind === 'insecure') {
    const leaf = parseCertificate(leafDer);
    if (!leaf.ok || leaf.value.uriSans[0] !== wanted.toString())
      throw untrusted(`the server is not ${wanted.toString()}`);
    return verified;
  }
  const roots =
    trust.kind === 'bundle'
      ? trust.roots()
      : chainDer.filter((der) => trust.rootsSha256Hex.includes(sha256Hex(der)));
  if (roots.length === 0)
    throw untrusted(
      trust.kind === 'bundle'
        ? 'no bundle is held to verify the server with'
        : 'the server shows no root with the configured fingerprint',
    );
  const svid = verifyX509Svid({
    chainDer,
    bundle: (name) => (name === trustDomain.name ? roots : undefined),
    now,
    purpose: 'server',
  });
  if (!svid.ok)
    throw untrusted(
      `the certificate of the server does not verify: ${svid.error.message} (${svid.error.code})`,
    );
  if (!svid.value.id.equals(wanted))
    throw untrusted(`the server is ${svid.value.id.toString()}, not ${wanted.toString()}`);
  return verified;
}

function sentChain(socket: TLSSocket): readonly Buffer[] {
  const chain: Buffer[] = [];
  let current = socket.getPeerCertificate(true);
  // a self-signed certificate is its own issuer, where the list ends
  while (current.raw !== undefined && chain.length < 10) {
    chain.push(current.raw);
    if (current.issuerCertificate === undefined || current.issuerCertificate === current) break;
    current = current.issuerCertificate;
  }
  return chain;
}

const untrusted = (message: string): PkiError => new PkiError('SERVER_UNTRUSTED', message);
