import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { PeerCertificate } from 'node:tls';
import {
  type ChannelCredentials,
  Client,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';
import { PkiError } from '../common/errors/index.ts';
import { uuidv7 } from '../common/runtime/index.ts';
import { serverId, SpiffeId } from '../common/spiffe/index.ts';
import { parseCertificate, pemDecode } from '../common/x509/index.ts';
import {
  adminContract,
  agentContract,
  fromServiceError,
  requestIdKey,
  signingContract,
  workloadContract,
} from '../common/wire/index.ts';
import { defaultAdminSocket, type CliContext } from './context.ts';

/** Where the server is: its local socket, or its address with an admin's certificate. */
export interface ServerOptions {
  readonly serverSocket?: string;
  readonly server?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly bundle?: string;
}

interface Target {
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly options: Record<string, string | number>;
  readonly shown: string;
}

const channelOptions = {
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.enable_retries': 0,
};

function target(context: CliContext, options: ServerOptions): Target {
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

/** What a client shows to a server, and by what it knows the server. */
export interface ServerAccess {
  readonly server: string;
  readonly certPem: string;
  readonly keyPem: Buffer;
  readonly bundlePem: Buffer;
  /** Where the certificate came from, for messages. */
  readonly what: string;
}

function serverTarget({ server, certPem, keyPem, bundlePem, what }: ServerAccess): Target {
  const leaf = pemDecode(certPem);
  const parsed = leaf.ok && leaf.value[0] ? parseCertificate(leaf.value[0].der) : undefined;
  const own =
    parsed?.ok === true && parsed.value.uriSans[0] !== undefined
      ? SpiffeId.parse(parsed.value.uriSans[0])
      : undefined;
  if (own?.ok !== true) throw new PkiError('SVID_INVALID', `${what} holds no X.509-SVID`);
  if (!/^(\[[0-9a-fA-F:.]+\]|[^:/\s]+):[0-9]{1,5}$/.test(server))
    throw new PkiError('INVALID_REQUEST', `the server ${JSON.stringify(server)} is not HOST:PORT`, {
      next: 'Give the address and the port, for example ca.example.org:8443; an IPv6 address stands in brackets.',
    });
  checkCredentials({ certPem, keyPem, bundlePem, what });
  const wanted = serverId(own.value.trustDomain).toString();
  const tls = credentials.createSsl(bundlePem, keyPem, Buffer.from(certPem), {
    // the chain is verified against the bundle by TLS; who the server is, by its exact ID and not
    // by a DNS name
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

/** What TLS would refuse without a word on what is wrong. */
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

const readText = (path: string): string => readBytes(path).toString('utf8');

export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (thrown) {
    throw new PkiError(
      'INVALID_REQUEST',
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { next: 'Check the path and its permissions.' },
    );
  }
}

type RequestOf<M> = M extends { requestSerialize: (value: infer Request) => Buffer }
  ? Request
  : never;
type ResponseOf<M> = M extends { responseDeserialize: (bytes: Buffer) => infer Response }
  ? Response
  : never;

/** Unary calls of one service; errors come as PkiError with the server's code and advice. */
export class Calls<D extends object> {
  readonly #client: Client;
  readonly #definition: D;
  readonly #shown: string;

  constructor(client: Client, definition: D, shown: string) {
    this.#client = client;
    this.#definition = definition;
    this.#shown = shown;
  }

  call<K extends keyof D>(
    name: K,
    request: RequestOf<D[K]>,
    options: {
      readonly deadlineSeconds?: number;
      readonly metadata?: Readonly<Record<string, string>>;
    } = {},
  ): Promise<ResponseOf<D[K]>> {
    const method = this.#definition[name] as MethodDefinition<object, object, object, object>;
    const metadata = new Metadata();
    metadata.set(requestIdKey, uuidv7());
    for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
    const deadline = new Date(Date.now() + (options.deadlineSeconds ?? 30) * 1000);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request as object,
        metadata,
        { deadline },
        (error, response) => {
          if (error !== null) reject(unreachable(fromServiceError(error), this.#shown));
          else resolve(response as ResponseOf<D[K]>);
        },
      );
    });
  }

  /** A server stream; its end by `signal` is no error. */
  async *stream<K extends keyof D>(
    name: K,
    request: RequestOf<D[K]>,
    signal: AbortSignal,
  ): AsyncGenerator<ResponseOf<D[K]>> {
    const method = this.#definition[name] as MethodDefinition<object, object, object, object>;
    const metadata = new Metadata();
    metadata.set(requestIdKey, uuidv7());
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request as object,
      metadata,
    );
    const stop = (): void => call.cancel();
    signal.addEventListener('abort', stop, { once: true });
    try {
      for await (const message of call) yield message as ResponseOf<D[K]>;
    } catch (thrown) {
      if (!signal.aborted) throw unreachable(fromServiceError(thrown as ServiceError), this.#shown);
    } finally {
      signal.removeEventListener('abort', stop);
      call.cancel();
    }
  }
}

/** gRPC's own text for a dead address helps nobody. */
export function unreachable(error: PkiError, shown: string): PkiError {
  if (error.code !== 'UNREACHABLE') return error;
  if (error.message.includes('EACCES'))
    return new PkiError(
      'CALLER_NOT_ADMITTED',
      `this user has no permission to connect to ${shown}`,
      {
        cause: error,
        next: 'Call it as root, as the user of the server or agent, or as a user whom its configuration names.',
      },
    );
  const other = /the server is not spiffe:\S+/.exec(error.message)?.[0];
  if (other !== undefined || error.message.includes('certificate')) {
    return new PkiError(
      'CHAIN_UNTRUSTED',
      `${shown} is not trusted: ${other ?? 'its certificate does not lead to a root of the bundle, or has expired'}`,
      {
        cause: error,
        next: 'Check that the address is that of the CA and the bundle is its present one ("meshca bundle show" on its machine), and both clocks.',
      },
    );
  }
  const reason = error.message.includes('Name resolution failed')
    ? 'its name can not be resolved'
    : /ENOENT|ECONNREFUSED|EACCES|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/.exec(
        error.message,
      )?.[0];
  const why = reason === undefined ? '' : ` (${reason})`;
  return new PkiError('UNREACHABLE', `nothing answers at ${shown}${why}`, { cause: error });
}

const nouns = [
  'Entries',
  'Agents',
  'Tokens',
  'Delegations',
  'Roles',
  'Authorities',
  'AuthoritySources',
  'Certificates',
  'Audit',
  'Server',
  'Approvals',
] as const;
type Noun = (typeof nouns)[number];
type Packages = ReturnType<typeof adminContract>['packages']['meshca']['admin']['v1'];

async function withCalls<D extends object, T>(
  where: Target,
  definition: D,
  work: (calls: Calls<D>) => Promise<T>,
): Promise<T> {
  const client = new Client(where.address, where.credentials, where.options);
  try {
    return await work(new Calls(client, definition, where.shown));
  } finally {
    client.close();
  }
}

/** Runs `work` with the calls of one admin service. */
export const withAdmin = <N extends Noun, T>(
  context: CliContext,
  options: ServerOptions,
  noun: N,
  work: (calls: Calls<Packages[N]['service']>) => Promise<T>,
): Promise<T> =>
  withCalls(
    target(context, options),
    adminContract().packages.meshca.admin.v1[noun].service as Packages[N]['service'],
    work,
  );

type SigningDefinition = ReturnType<
  typeof signingContract
>['packages']['meshca']['signing']['v1']['Signing']['service'];
/** The signing API, as the holder of an SVID. */
export const withSigning = <T>(
  access: ServerAccess,
  work: (calls: Calls<SigningDefinition>) => Promise<T>,
): Promise<T> =>
  withCalls(
    serverTarget(access),
    signingContract().packages.meshca.signing.v1.Signing.service,
    work,
  );

const onSocket = (path: string): Target => ({
  address: `unix:${path}`,
  credentials: credentials.createInsecure(),
  options: { ...channelOptions, 'grpc.default_authority': 'localhost' },
  shown: path,
});

type AgentLocalDefinition = ReturnType<
  typeof agentContract
>['packages']['meshca']['agent']['v1']['AgentLocal']['service'];
export const withAgentLocal = <T>(
  socketPath: string,
  work: (calls: Calls<AgentLocalDefinition>) => Promise<T>,
): Promise<T> =>
  withCalls(
    onSocket(socketPath),
    agentContract().packages.meshca.agent.v1.AgentLocal.service,
    work,
  );

export async function withWorkloadApi<T>(
  socketPath: string,
  work: (
    client: InstanceType<ReturnType<typeof workloadContract>['packages']['SpiffeWorkloadAPI']>,
  ) => Promise<T>,
): Promise<T> {
  const where = onSocket(socketPath);
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    where.address,
    where.credentials,
    where.options,
  );
  try {
    return await work(client);
  } finally {
    client.close();
  }
}
