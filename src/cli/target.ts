import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { SpiffeId } from '../common/spiffe/index.ts';
import { parseCertificate, pemDecode, pemEncode, sha256Hex } from '../common/x509/index.ts';
import { defaultAdminSocket, type CliContext } from './context.ts';
import { readBytes } from './files.ts';
import { fingerprintsOf, proveServer } from './server-issuer.ts';
import { unreachable } from './unreachable.ts';

/** The place of the server: its local socket, or its address with an admin's certificate. */
export interface ServerOptions {
  readonly serverSocket?: string;
  readonly server?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly bundle?: string;
  readonly issuerFingerprint?: string;
}

/** A server, and the way to reach it. */
export interface Target {
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly options: Record<string, string | number>;
  readonly shown: string;
  /** What a failed call means. */
  readonly explain: (error: PkiError) => PkiError;
}

/** In bytes. */
export const largestMessage = 64 * 1024 * 1024;

const channelOptions = {
  'grpc.max_receive_message_length': largestMessage,
  'grpc.enable_retries': 0,
};

export function targetOf(context: CliContext, options: ServerOptions): Target {
  if (options.server !== undefined)
    return remoteTarget(context, { ...options, server: options.server });
  return onSocket(options.serverSocket ?? context.env['MESHCA_ADMIN_SOCKET'] ?? defaultAdminSocket);
}

function remoteTarget(
  context: CliContext,
  options: ServerOptions & { readonly server: string },
): Target {
  const { cert, key, bundle } = options;
  if (cert === undefined || key === undefined || bundle === undefined) {
    throw new PkiError('INVALID_REQUEST', '--server needs --cert, --key and --bundle', {
      next:
        'Give the admin\'s certificate chain and key, and the trust bundle (PEM); "meshca ' +
        'mint --admin" makes the first two.',
    });
  }
  return serverTarget(context, {
    server: options.server,
    certPem: readText(cert),
    keyPem: readBytes(key),
    bundlePem: readBytes(bundle),
    issuersSha256: fingerprintsOf(options.issuerFingerprint),
    what: cert,
  });
}

/** The certificate that a client presents to a server, and the bundle that it trusts. */
export interface ServerAccess {
  readonly server: string;
  readonly certPem: string;
  readonly keyPem: Buffer;
  readonly bundlePem: Buffer;
  /** SHA-256 (hex) of the keys of the server's issuing authorities; empty: unknown. */
  readonly issuersSha256: readonly string[];
  /** The origin of the certificate, for messages. */
  readonly what: string;
}

export function serverTarget(context: CliContext, access: ServerAccess): Target {
  const { server, certPem, keyPem, bundlePem, issuersSha256, what } = access;
  const chain = pemDecode(certPem);
  const parsed = chain.ok && chain.value[0] ? parseCertificate(chain.value[0].der) : undefined;
  const own =
    parsed?.ok === true && parsed.value.uriSans[0] !== undefined
      ? SpiffeId.parse(parsed.value.uriSans[0])
      : undefined;
  if (own?.ok !== true) throw new PkiError('SVID_INVALID', `${what} holds no X.509-SVID`);
  if (!/^(\[[0-9a-fA-F:.]+\]|[^:/\s]+):[0-9]{1,5}$/.test(server))
    throw new PkiError('INVALID_REQUEST', `the server ${JSON.stringify(server)} is not HOST:PORT`, {
      next: 'Give the address and the port, for example ca.example.org:8443. Write an IPv6 address in brackets.',
    });
  // PEM (RFC 7468) is written anew for TLS, since OpenSSL accepts fewer forms
  const chainPem = plainPem(certPem);
  const rootsPem = Buffer.from(plainPem(bundlePem.toString('utf8')));
  checkCredentials({ certPem: chainPem, keyPem, bundlePem: rootsPem, what });
  let refused: PkiError | undefined;
  const proof = {
    trustDomain: own.value.trustDomain,
    rootsDer: certificatesIn(rootsPem.toString('utf8')),
    known: issuersSha256,
    ownIssuer: issuerIn(chainPem),
    shown: server,
    now: context.now,
  };
  const tls = credentials.createSsl(rootsPem, keyPem, Buffer.from(chainPem), {
    // TLS verifies the chain against the bundle. The server is recognised by its exact ID and its
    // issuer, not by a DNS name
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      try {
        proveServer(certificate, proof);
        refused = undefined;
        return undefined;
      } catch (thrown) {
        refused = PkiError.from(thrown);
        return refused;
      }
    },
  });
  return {
    address: server,
    credentials: tls,
    options: { ...channelOptions, 'grpc.ssl_target_name_override': 'localhost' },
    shown: server,
    explain: (error) => refused ?? unreachable(error, server),
  };
}

const certificatesIn = (pem: string): readonly Buffer[] => {
  const blocks = pemDecode(pem);
  return blocks.ok ? blocks.value.map(({ der }) => der) : [];
};

/** SHA-256 (hex) of the key of the authority that issued the first certificate, if it is there. */
function issuerIn(chainPem: string): string | undefined {
  const [, issuerDer] = certificatesIn(chainPem);
  const issuer = issuerDer === undefined ? undefined : parseCertificate(issuerDer);
  return issuer?.ok === true ? sha256Hex(issuer.value.spkiDer) : undefined;
}

/** The text itself if it is no PEM. A later check reports the problem. */
function plainPem(text: string): string {
  const blocks = pemDecode(text);
  return blocks.ok ? blocks.value.map(({ label, der }) => pemEncode(label, der)).join('') : text;
}

/** Checks what TLS would refuse without a clear message. */
function checkCredentials({
  certPem,
  keyPem,
  bundlePem,
  what,
}: Omit<ServerAccess, 'server' | 'issuersSha256'>): void {
  const key = (() => {
    try {
      return createPrivateKey(keyPem);
    } catch {
      throw new PkiError(
        'INVALID_REQUEST',
        `the key for ${what} is not a private key in PEM without a passphrase`,
        {
          next: 'Give the key that belongs to the certificate; "meshca mint --admin" writes key.pem.',
        },
      );
    }
  })();
  if (!new X509Certificate(certPem).checkPrivateKey(key))
    throw new PkiError('INVALID_REQUEST', `the key does not belong to the certificate in ${what}`, {
      next: 'Give the key that belongs to the certificate.',
    });
  const roots = pemDecode(bundlePem.toString('utf8'));
  if (
    !roots.ok ||
    roots.value.length === 0 ||
    !roots.value.every(({ label }) => label === 'CERTIFICATE')
  )
    throw new PkiError('INVALID_REQUEST', 'the bundle holds no certificates (PEM)', {
      next: 'Give the roots, as "meshca bundle show" prints them.',
    });
}

export const onSocket = (path: string): Target => ({
  address: `unix:${path}`,
  credentials: credentials.createInsecure(),
  options: { ...channelOptions, 'grpc.default_authority': 'localhost' },
  shown: path,
  explain: (error) => unreachable(error, path),
});

const readText = (path: string): string => readBytes(path).toString('utf8');
