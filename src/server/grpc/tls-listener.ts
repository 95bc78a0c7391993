import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import type { ConnectionInjector, Server as GrpcServer } from '@grpc/grpc-js';
import { ServerCredentials } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import { portError } from '../../common/runtime/port-error.ts';
import { Crowd, holderOf, type Logger } from '../../common/runtime/index.ts';
import { certificatesToPem, parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import type { Caller } from '../../services/callers/caller.ts';
import type { Callers, Refusals } from '../../services/services.ts';
import type { Connections } from './connections.ts';

export interface TlsIdentity {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly sha256: Buffer;
}

export interface TlsListenerDependencies {
  readonly grpcServer: GrpcServer;
  readonly connections: Connections;
  readonly callers: Callers;
  readonly refusals: Pick<Refusals, 'count'>;
  readonly identity: { current(): TlsIdentity; onChange(listener: () => void): () => void };
  readonly rootsDer: () => readonly Buffer[];
  readonly logger: Logger;
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
 * gRPC over TLS 1.3. The TLS server is our own, for three reasons: callers with and without a
 * certificate share one port; the server's certificate is renewed without restart; no session is
 * resumed (a resumed session would skip the check of expiry). A client certificate proves a key.
 * The inventory tells whose key it is.
 */
export async function startTlsListener(dependencies: TlsListenerDependencies): Promise<Listening> {
  const { options, identity, logger } = dependencies;
  const injector = dependencies.grpcServer.createConnectionInjector(
    ServerCredentials.createInsecure(),
  );
  let presented = identity.current();
  const server = createServer({
    ...contextOf(presented, dependencies.rootsDer()),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    handshakeTimeout: options.handshakeSeconds * 1000,
  });
  server.maxConnections = connectionLimit(options.connections);
  const stopWatching = identity.onChange(() => {
    presented = identity.current();
    server.setSecureContext(contextOf(presented, dependencies.rootsDer()));
  });
  limitHandshakes(server, dependencies);
  server.on('secureConnection', (socket) => accept(socket, presented, injector, dependencies));
  server.on('tlsClientError', (error: NodeJS.ErrnoException) => {
    dependencies.refusals.count('tls-handshake', 'UNAUTHENTICATED');
    logger.debug({ reason: error.code ?? error.message }, 'TLS handshake failed');
  });
  server.on('drop', () => dependencies.refusals.count('connect', 'OVERLOADED'));
  await listen(server, options);
  const bound = server.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    close: async (graceMs) => {
      stopWatching();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      injector.drain(graceMs);
      dependencies.connections.closeAll(
        new PkiError('SHUTTING_DOWN', 'the server is shutting down'),
      );
      await closed;
      injector.destroy();
    },
  };
}

const contextOf = (identity: TlsIdentity, rootsDer: readonly Buffer[]) => ({
  cert: identity.chainPem,
  key: identity.keyPem,
  // set so that no store of public roots is loaded; the inventory decides whether a client is known
  ca: certificatesToPem(rootsDer),
  minVersion: 'TLSv1.3' as const,
  ecdhCurve: 'X25519MLKEM768:X25519:P-256:P-384',
  secureOptions: constants.SSL_OP_NO_TICKET,
});

/**
 * Bounds the handshakes under way. If there are too many, the oldest of the address with the most is
 * closed. A normal handshake takes milliseconds, so that the oldest belong to peers that connect and
 * stay silent. Such peers can not keep others out.
 */
function limitHandshakes(server: TlsServer, { options, refusals }: TlsListenerDependencies): void {
  const underWay = new Crowd<Socket>();
  server.prependListener('connection', (socket: Socket) => {
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
  server.on('secureConnection', (socket) => {
    const { _parent: parent } = socket as TLSSocket & { readonly _parent?: Socket };
    if (parent !== undefined) underWay.delete(parent);
  });
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
  presented: TlsIdentity,
  injector: ConnectionInjector,
  dependencies: TlsListenerDependencies,
): void {
  socket.on('error', () => socket.destroy());
  if (socket.alpnProtocol !== 'h2') {
    dependencies.refusals.count('tls-handshake', 'INVALID_REQUEST');
    socket.destroy();
    return;
  }
  const address = socket.remoteAddress ?? 'unknown';
  const peer = `${address}:${socket.remotePort ?? 0}`;
  const caller = callerOf(socket, peer, dependencies.callers);
  dependencies.connections.add({
    ...{ socket, peer, caller },
    holder: holderOf(address),
    serverCertificateSha256: presented.sha256,
  });
  injector.injectConnection(socket);
}

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
  server: TlsServer,
  options: { readonly address: string; readonly port: number },
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(portError('the gRPC port (listen)', options, error)),
    );
    server.listen({ host: options.address, port: options.port, backlog: 1024 }, resolve);
  });
}
