import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { serverId, SpiffeId } from '../common/spiffe/index.ts';
import { parseCertificate, pemDecode, pemEncode } from '../common/x509/index.ts';
import { defaultAdminSocket, type CliContext } from './context.ts';
import { readBytes } from './files.ts';

/** Where the server is: its local socket, or its address with an admin's certificate. */
export interface ServerOptions {
  readonly serverSocket?: string;
  readonly server?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly bundle?: string;
}

/** A server, and how it is reached. */
export interface Target {
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly options: Record<string, string | number>;
  readonly shown: string;
}

const channelOptions = {
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.enable_retries': 0,
};

export function targetOf(context: CliContext, options: ServerOptions): Target {
  if (options.server !== undefined) return remoteTarget({ ...options, server: options.server });
  return onSocket(options.serverSocket ?? context.env['MESHCA_ADMIN_SOCKET'] ?? defaultAdminSocket);
}

function remoteTarget(options: ServerOptions & { readonly server: string }): Target {
  const { cert, key, bundle } = options;
  if (cert === undefined || key === undefined || bundle === undefined) {
    throw new PkiError('INVALID_REQUEST', '--server needs --cert, --key and --bundle', {
      next: 'Give the admin\'s certificate chain and key, and the trust bundle (PEM); "meshca mint --admin" makes the first two.',
    });
  }
  return serverTarget({
    server: options.server,
    certPem: readText(cert),
    keyPem: readBytes(key),
    bundlePem: readBytes(bundle),
    what: cert,
  });
}

/** The certificate that a client presents to a server, and the bundle that it trusts. */
export interface ServerAccess {
  readonly server: string;
  readonly certPem: string;
  readonly keyPem: Buffer;
  readonly bundlePem: Buffer;
  /** Where the certificate came from, for messages. */
  readonly what: string;
}

export function serverTarget({ server, certPem, keyPem, bundlePem, what }: ServerAccess): Target {
  const chain = pemDecode(certPem);
  const parsed = chain.ok && chain.value[0] ? parseCertificate(chain.value[0].der) : undefined;
  const own =
    parsed?.ok === true && parsed.value.uriSans[0] !== undefined
      ? SpiffeId.parse(parsed.value.uriSans[0])
      : undefined;
  if (own?.ok !== true) throw new PkiError('SVID_INVALID', `${what} holds no X.509-SVID`);
  if (!/^(\[[0-9a-fA-F:.]+\]|[^:/\s]+):[0-9]{1,5}$/.test(server))
    throw new PkiError('INVALID_REQUEST', `the server ${JSON.stringify(server)} is not HOST:PORT`, {
      next: 'Give the address and the port, for example ca.example.org:8443; an IPv6 address stands in brackets.',
    });
  // what we read as PEM (RFC 7468) goes to TLS in one form: OpenSSL reads fewer
  const chainPem = plainPem(certPem);
  const rootsPem = Buffer.from(plainPem(bundlePem.toString('utf8')));
  checkCredentials({ certPem: chainPem, keyPem, bundlePem: rootsPem, what });
  const wanted = serverId(own.value.trustDomain).toString();
  const tls = credentials.createSsl(rootsPem, keyPem, Buffer.from(chainPem), {
    // TLS verifies the chain against the bundle; the server is known by its exact ID, not by a DNS
    // name
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      const seen = parseCertificate(certificate.raw);
      return seen.ok && seen.value.uriSans.length === 1 && seen.value.uriSans[0] === wanted
        ? undefined
        : new Error(`the server is not ${wanted}`);
    },
  });
  return {
    address: server,
    credentials: tls,
    options: { ...channelOptions, 'grpc.ssl_target_name_override': 'localhost' },
    shown: server,
  };
}

/** The text itself where it is no PEM: what is wrong is said later. */
function plainPem(text: string): string {
  const blocks = pemDecode(text);
  return blocks.ok ? blocks.value.map(({ label, der }) => pemEncode(label, der)).join('') : text;
}

/** Checks what TLS would refuse without saying what is wrong. */
function checkCredentials({
  certPem,
  keyPem,
  bundlePem,
  what,
}: Omit<ServerAccess, 'server'>): void {
  const key = (() => {
    try {
      return createPrivateKey(keyPem);
    } catch {
      throw new PkiError(
        'INVALID_REQUEST',
        `the key for ${what} is no private key (PEM, without a passphrase)`,
        {
          next: 'Give the key that belongs to the certificate; "meshca mint --admin" writes key.pem.',
        },
      );
    }
  })();
  if (!new X509Certificate(certPem).checkPrivateKey(key))
    throw new PkiError('INVALID_REQUEST', `the key is not that of the certificate in ${what}`, {
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
});

const readText = (path: string): string => readBytes(path).toString('utf8');
