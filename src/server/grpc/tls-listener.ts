import {
  createServer as createTcpServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net';
import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { readFileSync } from 'node:fs';
import type { ConnectionInjector, Server as GrpcServer } from '@grpc/grpc-js';
import { ServerCredentials } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import { portError } from '../../common/runtime/port-error.ts';
import { type Clock, Crowd, holderOf, type Logger } from '../../common/runtime/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import type { Caller } from '../../services/callers/caller.ts';
import type { Callers, Refusals } from '../../services/services.ts';
import type { Connections } from './connections.ts';
import { Greeting } from './greeting.ts';
import { PresentedIdentities, type IdentitySource, type TlsFront } from './presented-identities.ts';

export interface TlsListenerDependencies {
  readonly grpcServer: GrpcServer;
  readonly connections: Connections;
  readonly callers: Callers;
  readonly refusals: Pick<Refusals, 'count'>;
  /** The server's own certificate, for everybody who asks for no name of a front. */
  readonly identity: IdentitySource;
  readonly fronts: readonly TlsFront[];
  readonly rootsDer: () => readonly Buffer[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called for each client that offers no TLS 1.3, with the front that it asked for. */
  readonly onOldClient: (front: string) => void;
  readonly options: {
    readonly address: string;
    readonly port: number;
    readonly connections: number;
    readonly handshakes: number;
    readonly handshakeSeconds: number;
  };
}

export interface Listening {
  readonly address: string;
  readonly port: number;
  /** Stops to accept connections, lets open calls end for `graceMs`, then closes all. */
  close(graceMs: number): Promise<void>;
}

/**
 * gRPC over TLS 1.3, for our own callers and for the clients of the fronts. The TLS server is our
 * own, for four reasons: callers with and without a certificate share one port; the certificate
 * depends on the name that the client asks for, and is renewed without restart; no session is resumed
 * (a resumed session would skip the check of expiry); a client that names no protocol is served. A
 * client certificate proves a key. The inventory tells whose key it is.
 */
export async function startTlsListener(dependencies: TlsListenerDependencies): Promise<Listening> {
  const { options } = dependencies;
  const injector = dependencies.grpcServer.createConnectionInjector(
    ServerCredentials.createInsecure(),
  );
  const presented = new PresentedIdentities(dependencies);
  const greeting = greetingOf(dependencies, presented);
  const server = createServer({
    SNICallback: (serverName, answer) => answer(null, presented.contextOf(serverName)),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    handshakeTimeout: options.handshakeSeconds * 1000,
  });
  presented.follow((context) => server.setSecureContext(context));
  const door = createTcpServer((socket) => greeting.receive(socket, server));
  door.maxConnections = connectionLimit(options.connections);
  const handshakes = limitHandshakes(door, server, dependencies);
  server.on('secureConnection', (socket) => {
    greeting.forget(rawOf(socket));
    accept(socket, presented, injector, dependencies);
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    dependencies.refusals.count('tls-handshake', 'UNAUTHENTICATED');
    dependencies.logger.debug({ reason: error.code ?? error.message }, 'TLS handshake failed');
    greeting.failed(rawOf(socket));
    // after the time for a handshake, the TLS server itself leaves the connection open
    rawOf(socket).destroy();
  });
  door.on('drop', () => dependencies.refusals.count('connect', 'OVERLOADED'));
  await listen(door, options);
  const bound = door.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    close: async (graceMs) => {
      presented.close();
      const closed = new Promise<void>((resolve) => door.close(() => resolve()));
      injector.drain(graceMs);
      dependencies.connections.closeAll(
        new PkiError('SHUTTING_DOWN', 'the server is shutting down'),
      );
      for (const socket of handshakes()) socket.destroy();
      await closed;
      injector.destroy();
    },
  };
}

/** The socket below a TLS socket. */
const rawOf = (socket: TLSSocket): Socket =>
  (socket as TLSSocket & { readonly _parent?: Socket })._parent ?? socket;

const greetingOf = (
  { clock, logger, onOldClient, options }: TlsListenerDependencies,
  presented: PresentedIdentities,
): Greeting =>
  new Greeting({
    clock,
    logger,
    silentSeconds: options.handshakeSeconds,
    refused: (serverName) => onOldClient(presented.frontOf(serverName)),
  });

/**
 * Bounds the handshakes under way. If there are too many, the oldest of the address with the most is
 * closed. A normal handshake takes milliseconds, so that the oldest belong to peers that connect and
 * stay silent. Such peers can not keep others out. Returns the handshakes under way, each time that
 * it is asked.
 */
function limitHandshakes(
  door: Server,
  server: TlsServer,
  { options, refusals }: TlsListenerDependencies,
): () => readonly Socket[] {
  const underWay = new Crowd<Socket>();
  door.prependListener('connection', (socket: Socket) => {
    const holder = holderOf(socket.remoteAddress ?? '');
    if (underWay.size >= options.handshakes) {
      refusals.count('tls-handshake', 'OVERLOADED');
      const oldest = underWay.victim(holder);
      if (oldest !== undefined) {
        underWay.delete(oldest);
        oldest.destroy();
      }
    }
    underWay.add(socket, holder);
    socket.once('close', () => underWay.delete(socket));
  });
  server.on('secureConnection', (socket) => underWay.delete(rawOf(socket)));
  return () => [...underWay.items()];
}

/**
 * Descriptors that stay free of connections: for the database, the token's processes, the
 * operations port and the admin socket.
 */
const reservedDescriptors = 512;

/**
 * Limits the connections to the number that the process may open. Without this limit, a flood of
 * connections would break the database and the signers too.
 */
function connectionLimit(configured: number): number {
  try {
    const openFiles = /^Max open files\s+(\d+)/m.exec(
      readFileSync('/proc/self/limits', 'utf8'),
    )?.[1];
    if (openFiles === undefined) return configured;
    return Math.max(64, Math.min(configured, Number(openFiles) - reservedDescriptors));
  } catch {
    return configured;
  }
}

function accept(
  socket: TLSSocket,
  presented: PresentedIdentities,
  injector: ConnectionInjector,
  dependencies: TlsListenerDependencies,
): void {
  socket.on('error', () => socket.destroy());
  // A client that offers other protocols only has already been refused. Linkerd's proxies offer none,
  // speak HTTP/2, and node:http2 would refuse them.
  if (socket.alpnProtocol !== 'h2') socket.alpnProtocol = 'h2';
  const address = socket.remoteAddress ?? 'unknown';
  const peer = `${address}:${socket.remotePort ?? 0}`;
  const { callers } = dependencies;
  const serverName = serverNameOf(socket);
  const caller = presented.isAnonymous(serverName)
    ? Promise.resolve(callers.anonymous(peer))
    : callerOf(socket, peer, callers);
  dependencies.connections.add({
    ...{ socket, peer, caller },
    holder: holderOf(address),
    serverCertificateSha256: presented.identityOf(serverName).sha256,
  });
  injector.injectConnection(socket);
}

/** The name that the client asked for. */
const serverNameOf = (socket: TLSSocket): string | undefined => {
  const { servername } = socket as TLSSocket & { readonly servername?: string | false | null };
  return typeof servername === 'string' ? servername : undefined;
};

async function callerOf(socket: TLSSocket, peer: string, callers: Callers): Promise<Caller> {
  const raw = socket.getPeerX509Certificate()?.raw;
  if (raw === undefined) return callers.anonymous(peer);
  const parsed = parseCertificate(raw);
  if (!parsed.ok)
    throw new PkiError(
      'CERTIFICATE_UNKNOWN',
      `the client certificate is not one of this CA: ${parsed.error.message}`,
    );
  const { serialHex: serial, uriSans, notBefore } = parsed.value;
  return callers.resolve(
    { serial, sha256: sha256Hex(raw), uri: uriSans[0] ?? '', notBefore },
    peer,
  );
}

async function listen(
  server: Server,
  options: { readonly address: string; readonly port: number },
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(portError('the gRPC port (listen)', options, error)),
    );
    server.listen({ host: options.address, port: options.port, backlog: 1024 }, resolve);
  });
}
