import { createServer, type Server, type TlsOptions, type TLSSocket } from 'node:tls';
import { keepPeerChains } from '../common/runtime/index.ts';
import type { Authorizer } from './authorize.ts';
import { issuerKeyIdOf, peerOf, type Peer } from './peers.ts';
import { tlsFailure } from './tls-failure.ts';
import { internalsOf, type X509Source } from './x509-source.ts';

export interface ServerOptions {
  readonly authorize: Authorizer;
  /** For the handshake; default 10 s (Node's own is 120 s). */
  readonly handshakeTimeoutMs?: number;
  readonly ALPNProtocols?: string[];
}

/**
 * Options for a TLS server, with the certificate of this moment. They make OpenSSL check the chain;
 * they can **not** make it check the SPIFFE ID, and they do not rotate: give the server to
 * `protectServer`, or use `createTlsServer` or `createHttpsServer`, which do.
 */
export function tlsServerOptions(
  source: X509Source,
  options: Omit<ServerOptions, 'authorize'> = {},
): TlsOptions {
  return {
    ...internalsOf(source).material(),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: options.handshakeTimeoutMs ?? 10_000,
    ...(options.ALPNProtocols === undefined ? {} : { ALPNProtocols: options.ALPNProtocols }),
  };
}

/**
 * A TLS server whose `secureConnection` (and `onConnection`) sees only peers that were verified and
 * authorized.
 */
export function createTlsServer(
  source: X509Source,
  options: ServerOptions,
  onConnection?: (socket: TLSSocket, peer: Peer) => void,
): Server {
  const server = createServer(tlsServerOptions(source, options));
  protectServer(source, server, options.authorize);
  if (onConnection !== undefined)
    server.on('secureConnection', (socket) => onConnection(socket, peerOf(socket) as Peer));
  return server;
}

/**
 * Puts the SVID check in front of a server made with `tlsServerOptions` (tls, https or http2), and
 * rotates its certificate with the source until it closes. Before the first connection.
 */
export function protectServer(source: X509Source, server: Server, authorizer: Authorizer): void {
  const { counters, peers, material, context } = internalsOf(source);
  keepPeerChains(server);
  // `emit` is the one way by which Node hands out a socket: whoever listens, now or later, gets
  // none that was not admitted
  const emit = server.emit.bind(server) as (event: string | symbol, ...args: unknown[]) => boolean;
  server.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event !== 'secureConnection') return emit(event, ...args);
    const socket = args[0] as TLSSocket;
    let peer: Peer;
    try {
      peer = peers.admit(socket, 'server', authorizer);
    } catch (thrown) {
      const error = tlsFailure(thrown);
      counters.failed('server', error, issuerKeyIdOf(socket));
      context.logger.info(
        { code: error.code, remoteAddress: socket.remoteAddress },
        `refused a peer: ${error.message}`,
      );
      socket.on('error', () => undefined);
      socket.destroy();
      return true;
    }
    counters.succeeded('server', peer.issuerKeyId);
    // an admitted socket that ends with an error must not end the process of a user who listens for
    // none
    socket.on('error', (error) =>
      context.logger.debug({ error: error.message }, 'a TLS connection ended with an error'),
    );
    return emit(event, ...args);
  };
  server.on('tlsClientError', (thrown: Error, socket: TLSSocket) => {
    const error = tlsFailure(thrown, socket.authorizationError ?? undefined);
    counters.failed('server', error, issuerKeyIdOf(socket));
    context.logger.info({ code: error.code }, `refused a peer: ${error.message}`);
    socket.destroy();
  });
  const stop = source.onUpdate(() => server.setSecureContext(material()));
  server.once('close', stop);
}
