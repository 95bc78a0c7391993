import {
  Server,
  ServerCredentials,
  type handleServerStreamingCall,
  type sendUnaryData,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { boundRequests, reportsContract, workloadContract } from '../../src/common/wire/index.ts';
import type { ReportRequest__Output } from '../../src/common/wire/generated/meshca/workload/v1/ReportRequest.ts';
import { linuxKernel } from '../attest/index.ts';
import { createConnections } from './connections.ts';
import { createHub } from './hub.ts';
import { fetchJwtSvid, serveUnary, validateJwt } from './jwt.ts';
import { createMessages } from './messages.ts';
import {
  defaultLimits,
  silentWorkloadApiMetrics,
  type WorkloadApi,
  type WorkloadApiOptions,
  type WorkloadRpc,
} from './ports.ts';
import { createClients } from './reports.ts';
import { createSessions, type Session } from './session.ts';
import { listenUnix } from './socket.ts';
import {
  jwtBundleSource,
  serveStream,
  x509BundleSource,
  x509SvidSource,
  type SourceFactory,
  type StreamParts,
} from './streams.ts';

const sweepMs = 1_000;

/**
 * Serves the SPIFFE Workload API on a Unix socket. Every caller is attested, again before each
 * message. Throws SOCKET_IN_USE or CONFIG_INVALID.
 */
export async function startWorkloadApi(options: WorkloadApiOptions): Promise<WorkloadApi> {
  const {
    clock,
    logger,
    attestor,
    metrics = silentWorkloadApiMetrics,
    kernel = linuxKernel(),
  } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const connections = createConnections({ attestor, kernel, clock, logger, metrics, limits });
  const sessions = createSessions(options, connections, limits, metrics);
  const hub = createHub(options.entries, options.bundles);
  const messages = createMessages(options.bundles, hub.bundleGeneration);
  const parts: StreamParts = {
    options,
    limits,
    metrics,
    sessions,
    hub,
    messages,
    clients: createClients(options),
  };

  const server = new Server({
    'grpc.max_concurrent_streams': limits.streamsPerConnection,
    'grpc.max_receive_message_length': limits.requestBytes,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
    interceptors: [
      boundRequests({
        metadataBytes: limits.metadataBytes,
        messageBytes: limits.requestBytes,
        totalBytes: limits.requestBytesTotal,
        ownerOf: (peer) => {
          const connection = connections.byId(peer);
          return connection === undefined
            ? undefined
            : { name: String(connection.uid), bytes: limits.requestBytesPerUid };
        },
      }),
    ],
  });
  register(server, parts);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listening = await listenUnix(options.socket, (socket) => {
    try {
      if (connections.accept(socket) !== undefined) injector.injectConnection(socket);
    } catch (thrown) {
      socket.destroy();
      logger.error({ err: thrown }, 'a connection could not be accepted');
    }
  }).catch((thrown: unknown) => {
    hub.stop();
    throw thrown;
  });
  listening.server.on('error', (error) =>
    logger.error({ err: error }, 'the Workload API socket failed'),
  );

  let cancelSweep = (): void => {};
  const sweep = (): void => {
    connections.sweep();
    cancelSweep = clock.after(sweepMs, sweep);
  };
  cancelSweep = clock.after(sweepMs, sweep);

  let draining: Promise<void> | undefined;
  const drain = async (graceMs: number): Promise<void> => {
    sessions.stopping();
    await listening.close();
    hub.stop();
    connections.failAll(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
    injector.drain(graceMs);
    const deadline = clock.monotonicMs() + graceMs;
    while (connections.size() > 0 && clock.monotonicMs() < deadline)
      await clock.sleep(Math.min(10, graceMs));
    cancelSweep();
    connections.destroyAll();
    injector.destroy();
    server.forceShutdown();
  };
  const drainOnce = (graceMs: number): Promise<void> => (draining ??= drain(graceMs));

  return {
    path: options.socket.path,
    connections: () => connections.size(),
    drain: drainOnce,
    [Symbol.asyncDispose]: () => drainOnce(1_000),
  };
}

function register(server: Server, parts: StreamParts): void {
  const { options, sessions, limits } = parts;
  const { service } = workloadContract().packages.SpiffeWorkloadAPI;
  // streams write bytes that were encoded once for all of them
  const encoded = { responseSerialize: (bytes: Buffer) => bytes };
  const definition = {
    ...service,
    FetchX509SVID: { ...service.FetchX509SVID, ...encoded },
    FetchX509Bundles: { ...service.FetchX509Bundles, ...encoded },
    FetchJWTBundles: { ...service.FetchJWTBundles, ...encoded },
  };
  const stream =
    (rpc: WorkloadRpc, source: SourceFactory): handleServerStreamingCall<unknown, Buffer> =>
    (call) =>
      serveStream(parts, rpc, call, source);
  const unary =
    <Request, Response>(
      rpc: WorkloadRpc,
      handle: Parameters<typeof serveUnary<Request, Response>>[4],
    ) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) =>
      serveUnary(sessions, rpc, call, callback, handle);
  // the same answer for everyone, identity or not: a client must learn that it need not try again
  const unimplemented =
    (rpc: WorkloadRpc): handleServerStreamingCall<unknown, unknown> =>
    (call) => {
      let session: Session | undefined;
      try {
        session = sessions.open(call, rpc, () => {});
        throw new PkiError('NOT_IMPLEMENTED', `this release does not offer ${rpc}`);
      } catch (thrown) {
        call.emit('error', sessions.status(thrown, rpc, session));
        session?.end();
      }
    };
  server.addService(definition, {
    FetchX509SVID: stream('FetchX509SVID', x509SvidSource),
    FetchX509Bundles: stream('FetchX509Bundles', x509BundleSource),
    FetchJWTBundles: stream('FetchJWTBundles', jwtBundleSource),
    FetchJWTSVID: unary('FetchJWTSVID', fetchJwtSvid(options, sessions, limits)),
    ValidateJWTSVID: unary('ValidateJWTSVID', validateJwt(options)),
    FetchWITSVID: unimplemented('FetchWITSVID'),
    FetchWITBundles: unimplemented('FetchWITBundles'),
  });
  server.addService(reportsContract().packages.meshca.workload.v1.Reports.service, {
    Report: unary('Report', (session, request: ReportRequest__Output) =>
      parts.clients.report(session, request),
    ),
  });
}
