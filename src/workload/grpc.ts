import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { CallCredentials, ChannelCredentials, ServerCredentials, type Server } from '@grpc/grpc-js';
import { SpiffeId } from '../common/spiffe/index.ts';
import { idTextOf } from './peers.ts';
import { connectTls, type ClientOptions } from './tls-client.ts';
import { createTlsServer, type ServerOptions } from './tls-server.ts';
import type { X509Source } from './x509-source.ts';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * Channel credentials for grpc-js whose every connection has the current certificate, speaks TLS
 * 1.3 and has verified the server's SPIFFE ID before the first byte of HTTP/2. `createSsl` of
 * grpc-js can do none of the three: it fixes the certificate once, accepts TLS 1.2 and checks DNS
 * names.
 */
export function grpcChannelCredentials(
  source: X509Source,
  options: ClientOptions,
): ChannelCredentials {
  return new SvidChannelCredentials(source, options);
}

class SvidChannelCredentials extends ChannelCredentials {
  readonly #source: X509Source;
  readonly #options: ClientOptions;

  constructor(source: X509Source, options: ClientOptions) {
    super();
    this.#source = source;
    this.#options = options;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    const credentials = callCredentials ?? CallCredentials.createEmpty();
    return {
      connect: async (socket: Socket) => ({
        socket: await connectTls(this.#source, {
          socket,
          expect: this.#options.expect,
          ALPNProtocols: ['h2'],
        }),
        secure: true,
      }),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => credentials,
      destroy: () => undefined,
    };
  }
}

export interface GrpcListenOptions extends Omit<ServerOptions, 'ALPNProtocols'> {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free port. */
  readonly port?: number;
}

export interface GrpcListener extends AsyncDisposable {
  readonly port: number;
  /**
   * Takes no new connections, lets calls finish for `graceMs` (default 1 s), then closes all. Shut
   * the grpc server down afterwards.
   */
  close(graceMs?: number): Promise<void>;
}

/**
 * Lets a grpc-js server listen on TLS 1.3 for verified and authorized peers. The certificate of new
 * connections is always current; open streams live on.
 */
export async function listenGrpc(
  source: X509Source,
  server: Server,
  options: GrpcListenOptions,
): Promise<GrpcListener> {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const front = createTlsServer(source, { ...options, ALPNProtocols: ['h2'] }, (socket) => {
    // without this check a connection without ALPN would be read as HTTP/2
    if (socket.alpnProtocol === 'h2') injector.injectConnection(socket);
    else socket.destroy();
  });
  front.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(front, 'listening');
  const close = async (graceMs = 1000): Promise<void> => {
    if (!front.listening) return;
    const closed = once(front, 'close');
    front.close();
    injector.drain(graceMs);
    await closed;
    injector.destroy();
  };
  return {
    port: (front.address() as AddressInfo).port,
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

/**
 * The ID of the caller, in a handler of a server with `listenGrpc`. Read it once per stream, since
 * grpc-js copies the certificate each time.
 */
export function grpcPeerId(call: {
  getAuthContext(): { readonly sslPeerCertificate?: { readonly raw: Buffer } | undefined };
}): SpiffeId | undefined {
  const certificate = call.getAuthContext().sslPeerCertificate;
  const text = certificate === undefined ? undefined : idTextOf(certificate.raw);
  return text === undefined ? undefined : SpiffeId.of(text);
}
