import type { TLSSocket } from 'node:tls';
import { PkiError } from '../errors/index.ts';
import { serverId, type TrustDomain } from '../spiffe/index.ts';
import {
  parseCertificate,
  serverIssuerOf,
  sha256Hex,
  verifyX509Svid,
  type ServerIssuer,
  type ServerIssuers,
} from '../x509/index.ts';

/** The names of the settings that a refusal may advise to change. */
export interface TrustSettings {
  readonly root: string;
  readonly issuer: string;
}

const agentSettings: TrustSettings = {
  root: 'bootstrap.rootFingerprint',
  issuer: 'bootstrap.issuerFingerprint',
};

/** How the server proves to be the CA. `settings`: absent, they are those of an agent. */
export type ServerTrust =
  | {
      readonly kind: 'bundle';
      readonly roots: () => readonly Buffer[];
      readonly issuers: () => ServerIssuers;
      readonly settings?: TrustSettings;
    }
  | {
      readonly kind: 'fingerprint';
      /** SHA-256 (hex) of roots in DER; the server sends one of them at the end of its chain. */
      readonly rootsSha256Hex: readonly string[];
      readonly issuers: () => ServerIssuers;
      readonly settings?: TrustSettings;
    }
  /** Believes whoever answers. Only by explicit configuration, only for the first attestation. */
  | { readonly kind: 'insecure' };

export interface VerifiedServer {
  /** SHA-256 of the server's certificate, as attestation binds to it. */
  readonly leafSha256: Buffer;
  readonly chainDer: readonly Buffer[];
  /** Who issued its certificate, and how that one proves to be the server's; insecure: undefined. */
  readonly issuer: (ServerIssuer & { readonly rootSha256Hex: string }) | undefined;
}

/**
 * Verifies the server of a finished TLS handshake: TLS 1.3, no resumption, the exact ID
 * spiffe://td/meshca/server, its chain to what this agent trusts, and an issuer that may stand above
 * that ID. Throws SERVER_UNTRUSTED. Nothing may be sent before this returns.
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
  const leafSha256 = Buffer.from(sha256Hex(leafDer), 'hex');
  if (trust.kind === 'insecure') {
    const wanted = serverId(trustDomain).toString();
    const leaf = parseCertificate(leafDer);
    if (!leaf.ok || leaf.value.uriSans[0] !== wanted)
      throw untrusted(`the server is not ${wanted}`);
    return { leafSha256, chainDer, issuer: undefined };
  }
  return { leafSha256, chainDer, issuer: verifiedIssuer(chainDer, trustDomain, trust, now) };
}

function verifiedIssuer(
  chainDer: readonly Buffer[],
  trustDomain: TrustDomain,
  trust: Exclude<ServerTrust, { readonly kind: 'insecure' }>,
  now: number,
): NonNullable<VerifiedServer['issuer']> {
  const wanted = serverId(trustDomain);
  const { settings = agentSettings } = trust;
  const roots =
    trust.kind === 'bundle'
      ? trust.roots()
      : chainDer.filter((der) => trust.rootsSha256Hex.includes(sha256Hex(der)));
  if (roots.length === 0)
    throw trust.kind === 'bundle'
      ? untrusted('no bundle is held to verify the server with')
      : anotherRoot(settings, trust.rootsSha256Hex);
  let foreign: string | undefined;
  const svid = verifyX509Svid({
    chainDer,
    bundle: (name) => {
      if (name === trustDomain.name) return roots;
      foreign = name;
      return undefined;
    },
    now,
    purpose: 'server',
  });
  if (foreign !== undefined) throw ofAnotherDomain(foreign, trustDomain);
  if (!svid.ok) throw unverified(svid.error);
  if (!svid.value.id.equals(wanted))
    throw untrusted(`the server is ${svid.value.id.toString()}, not ${wanted.toString()}`);
  const issuers = trust.issuers();
  const issuer = serverIssuerOf(svid.value, issuers);
  if (!issuer.ok)
    throw new PkiError(
      'SERVER_UNTRUSTED',
      `the certificate of the server: ${issuer.error.message} (${issuer.error.code})`,
      {
        cause: issuer.error,
        ...(issuers.kind === 'mark'
          ? {
              next:
                'If this server is nested, or a ceremony certified it without the mark: set ' +
                `${settings.issuer}, which its "meshca token create" prints. Otherwise find ` +
                'out who answers at this address.',
            }
          : {}),
      },
    );
  return { ...issuer.value, rootSha256Hex: sha256Hex(svid.value.root.raw) };
}

const anotherRoot = ({ root }: TrustSettings, rootsSha256Hex: readonly string[]): PkiError =>
  new PkiError(
    'SERVER_UNTRUSTED',
    `the server shows no root with the configured fingerprint (${root}: ` +
      `${rootsSha256Hex.join(', ')})`,
    {
      next:
        'If the root was replaced since, that fingerprint is stale: set the one that ' +
        '"meshca token create" prints on the server, and try again. Otherwise find out ' +
        'who answers at this address; nothing was sent there.',
    },
  );

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

/** A certificate that is not valid now may be right, and the clock of this node wrong. */
function unverified({ code, message }: PkiError): PkiError {
  if (code !== 'CERTIFICATE_EXPIRED' && code !== 'CERTIFICATE_NOT_YET_VALID')
    return untrusted(`the certificate of the server does not verify: ${message} (${code})`);
  return new PkiError(
    'SERVER_UNTRUSTED',
    `the certificate of the server is not valid by the clock of this node: ${message} (${code})`,
    {
      next:
        'Compare the clocks of this node and of the server (date -u on both), and set the ' +
        'wrong one right. If both are right, "meshca status" on the server tells why its ' +
        'certificate is not renewed.',
    },
  );
}

const ofAnotherDomain = (foreign: string, { name }: TrustDomain): PkiError =>
  new PkiError(
    'SERVER_UNTRUSTED',
    `the server is of the trust domain ${foreign} by its certificate, not of ${name}`,
    { next: 'Correct the name of the trust domain, or the address of the server.' },
  );

const untrusted = (message: string): PkiError => new PkiError('SERVER_UNTRUSTED', message);
