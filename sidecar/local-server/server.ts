import type { Socket } from 'node:net';
import { Server } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { errorFields, type Clock } from '../../src/common/runtime/index.ts';
import { boundRequests } from '../../src/common/wire/index.ts';
import { registerApi } from './calls.ts';
import { LocalConnections } from './local-connections.ts';
import { Http2Door } from './http2-door.ts';
import { createHub, type Hub } from './hub.ts';
import type {
  LocalServer,
  LocalServerLimits,
  LocalServerOptions,
  ShownCertificate,
} from './options.ts';
import { Sessions } from './sessions.ts';
import { assertDeclared } from './socket-api.ts';
import { listenUnix, type ListeningSocket } from './socket.ts';
import { serveTls } from './tls-socket.ts';

const sweepMs = 1_000;

/**
 * Serves APIs on a Unix socket. Every caller is attested, and again before each message. Throws
 * SOCKET_IN_USE, CONFIG_INVALID, or INTERNAL for an API that declares no rule for metadata.
 */
export async function startLocalServer(options: LocalServerOptions): Promise<LocalServer> {
  const { apis, clock, logger, limits } = options;
  const admits = (uid: number): boolean =>
    apis.some(({ callers }) => callers.kind === 'workloads' || callers.uids.has(uid));
  const connections = new LocalConnections({ ...options, admits });
  const sessions = new Sessions({ ...options, connections });
  const hub = createHub(options.entries, options.bundles);
  let listening: ListeningSocket;
  let door: Http2Door;
  const server = createGrpcServer(limits, connections, admits);
  try {
    for (const api of apis) {
      const services = api.services({ bundleGeneration: hub.bundleGeneration });
      assertDeclared(api, services);
      registerApi(server, { ...options, sessions, hub }, api, services);
    }
    door = new Http2Door(server, clock, options.kernel);
    listening = await listenUnix(options.socket, (socket) => {
      try {
        serve(socket, { connections, door, tls: options.tls });
      } catch (thrown) {
        socket.destroy();
        logger.error({ ...errorFields(thrown) }, 'a connection could not be accepted');
      }
    });
  } catch (thrown) {
    hub.close();
    throw thrown;
  }
  listening.server.on('error', (error) =>
    logger.error(
      { ...errorFields(error), path: options.socket.path },
      'a socket of the agent failed',
    ),
  );
  const running = { server, door, listening, connections, sessions, hub, clock };
  const stopSweep = sweepRegularly(connections, clock);
  const stopWatching = options.entries.onChange(() => connections.forgiveUnidentified());
  let draining: Promise<void> | undefined;
  const drainOnce = (graceMs: number): Promise<void> =>
    (draining ??= drain(running, graceMs, () => {
      stopSweep();
      stopWatching();
    }));
  return {
    path: options.socket.path,
    connections: () => connections.size,
    drain: drainOnce,
    [Symbol.asyncDispose]: () => drainOnce(1_000),
  };
}

/** Takes over an accepted socket, with TLS or without. */
function serve(
  socket: Socket,
  {
    connections,
    door,
    tls,
  }: {
    readonly connections: LocalConnections;
    readonly door: Http2Door;
    readonly tls: ShownCertificate | undefined;
  },
): void {
  const connection = connections.accept(socket);
  if (connection === undefined) return;
  if (tls === undefined) {
    door.enter(socket, connection.id, connections.refusals(connection));
    return;
  }
  serveTls(socket, connection.id, {
    certificate: tls,
    onSecured: (secured) => door.inject(secured),
    onFailed: (code) => connections.handshakeFailed(connection, code),
  });
}

function createGrpcServer(
  limits: LocalServerLimits,
  connections: LocalConnections,
  admits: (uid: number) => boolean,
): Server {
  return new Server({
    'grpc.max_concurrent_streams': limits.streamsPerConnection,
    'grpc.max_receive_message_length': limits.requestBytes,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
    interceptors: [
      boundRequests({
        metadataBytes: limits.metadataBytes,
        messageBytes: limits.requestBytes,
        totalBytes: limits.requestBytesTotal,
        // streams are counted per uid and cgroup
        enter: () => () => {},
        ownerOf: (peer) => {
          const uid = connections.byId(peer)?.uid;
          if (uid === undefined) return undefined;
          const bytes = admits(uid) ? limits.requestBytesPerUid : limits.requestBytesPerStranger;
          return { name: String(uid), bytes };
        },
      }),
    ],
  });
}

function sweepRegularly(connections: LocalConnections, clock: Clock): () => void {
  const again = (): (() => void) =>
    clock.after(sweepMs, () => {
      connections.sweep();
      cancel = again();
    });
  let cancel = again();
  return () => cancel();
}

interface RunningServer {
  readonly server: Server;
  readonly door: Http2Door;
  readonly listening: ListeningSocket;
  readonly connections: LocalConnections;
  readonly sessions: Sessions;
  readonly hub: Hub;
  readonly clock: Clock;
}

async function drain(
  running: RunningServer,
  graceMs: number,
  stopSweep: () => void,
): Promise<void> {
  const { server, door, listening, connections, sessions, hub, clock } = running;
  sessions.close();
  await listening.close();
  hub.close();
  connections.failAll(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
  door.drain(graceMs);
  const deadline = clock.monotonicMs() + graceMs;
  while (connections.size > 0 && clock.monotonicMs() < deadline)
    await clock.sleep(Math.min(10, graceMs));
  stopSweep();
  connections.destroyAll();
  door.close();
  server.forceShutdown();
}
