import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { ServerCredentials, type Server as GrpcServer } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import type { Logger } from '../../common/runtime/index.ts';
import { permissionError } from '../../common/unix/path-permission.ts';
import { peerCredentials, type PeerCredentials } from '../../common/unix/peer-credentials.ts';
import type { Callers } from '../../services/services.ts';
import type { Connections } from './connections.ts';

export interface AdminListenerDependencies {
  readonly grpcServer: GrpcServer;
  readonly connections: Connections;
  readonly callers: Callers;
  readonly logger: Logger;
  readonly path: string;
  readonly mode: number;
}

const maximumConnections = 64;
const maximumStrangers = 16;
const strangerSeconds = 5;

/**
 * The local admin socket. The kernel identifies the caller (SO_PEERCRED). The permissions of the
 * file are an additional check.
 */
export async function startAdminListener(
  dependencies: AdminListenerDependencies,
): Promise<{ close(graceMs: number): Promise<void> }> {
  const { path, mode } = dependencies;
  await removeStale(path);
  const injector = dependencies.grpcServer.createConnectionInjector(
    ServerCredentials.createInsecure(),
  );
  const strangers = new Set<Socket>();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    const credentials = credentialsOf(socket);
    if (credentials === undefined) {
      socket.destroy();
      dependencies.logger.warn(
        {},
        'closed a connection to the admin socket: the kernel does not tell who opened it',
      );
      return;
    }
    const caller = Promise.resolve().then(() => dependencies.callers.local(credentials));
    // a caller that is not admitted gets its refusal, but must not take the place of an admitted
    // one
    caller.catch(() => {
      if (strangers.size >= maximumStrangers) socket.destroy();
      strangers.add(socket);
      socket.once('close', () => strangers.delete(socket));
    });
    dependencies.connections.add({
      socket,
      peer: `uid:${credentials.uid} pid:${credentials.pid}`,
      holder: `uid:${credentials.uid}`,
      caller,
      guestSeconds: strangerSeconds,
    });
    injector.injectConnection(socket);
    socket.resume();
  });
  server.maxConnections = maximumConnections;
  await listen(server, path, mode);
  return {
    close: async (graceMs) => {
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

/** undefined for a closed connection: a caller must not be able to crash the listener */
function credentialsOf(socket: Socket): PeerCredentials | undefined {
  try {
    return peerCredentials(descriptorOf(socket));
  } catch {
    return undefined;
  }
}

function descriptorOf(socket: Socket): number {
  const fd = (socket as Socket & { _handle?: { fd?: number } })._handle?.fd;
  if (fd === undefined || fd < 0)
    throw new PkiError('PEER_UNVERIFIABLE', 'the connection has no descriptor');
  return fd;
}

/**
 * Removes a socket file that a crash left: nobody answers on it. A socket that answers belongs to
 * another server, and a file that is no socket is not removed; both are errors.
 */
async function removeStale(path: string): Promise<void> {
  const file = lstatSync(path, { throwIfNoEntry: false });
  if (file === undefined) return;
  if (!file.isSocket())
    throw new PkiError('SOCKET_IN_USE', `${path} exists and is not a socket`, { grade: 'fatal' });
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (alive)
    throw new PkiError('SOCKET_IN_USE', `another process answers on ${path}`, { grade: 'fatal' });
  unlinkSync(path);
}

async function listen(server: NetServer, path: string, mode: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        permissionError(error) ??
          new PkiError(
            error.code === 'EADDRINUSE' ? 'SOCKET_IN_USE' : 'CONFIG_INVALID',
            `the admin socket ${path} can not be opened: ${error.code ?? error.message}`,
            { cause: error, grade: 'fatal' },
          ),
      ),
    );
    server.listen(path, resolve);
  });
  // a caller that connected before this line is still checked by uid
  chmodSync(path, mode);
}
