import { setImmediate } from 'node:timers/promises';
import { Server } from '@grpc/grpc-js';
import { serviceNames, type Operations } from '../../api/index.ts';
import { boundRequests, serviceDefinition, type RequestOwner } from '../../common/wire/index.ts';
import type { ServedControlPlane } from '../../services/index.ts';
import type { Services } from '../../services/services.ts';
import { withCertificateAnswers } from '../../common/wire/certificate-answers.ts';
import { withEncodedRequests } from '../../common/wire/encoded-request.ts';
import { addControlPlanes } from './control-plane-services.ts';
import { Guard, type GuardDependencies } from './guard.ts';
import { addLibraryServices } from './library-services.ts';
import { exchangesOf, guardedService } from './operation-services.ts';

export interface GrpcServerOptions {
  readonly messageBytes: number;
  readonly streamsPerConnection: number;
}

export interface GrpcServerDependencies extends GuardDependencies {
  readonly operations: Operations;
  readonly services: Pick<Services, 'attestation' | 'sync' | 'signStreams' | 'watch'>;
  readonly controlPlanes: readonly ServedControlPlane[];
}

const metadataBytes = 16 * 1024;
/** The limit for all callers together. Beyond it, callers with small requests are still served. */
const requestBytesInAll = 512 * 1024 * 1024;

export interface GrpcFront {
  readonly server: Server;
  /** For grpc.health.v1: the whole server, under the empty name. */
  setServing(serving: boolean): void;
}

/**
 * The gRPC server, with every service behind the guard. Listeners inject connections into it. Other
 * work goes on while it is built: to load the contracts takes some time.
 */
export async function buildGrpcServer(
  dependencies: GrpcServerDependencies,
  options: GrpcServerOptions,
): Promise<GrpcFront> {
  const server = new Server({
    'grpc.max_receive_message_length': options.messageBytes,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': options.streamsPerConnection,
    // nothing reads its counters, and it keeps a record of each call
    'grpc.enable_channelz': 0,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 20_000,
    interceptors: [
      boundRequests({
        metadataBytes,
        messageBytes: options.messageBytes,
        totalBytes: requestBytesInAll,
        ownerOf: (peer) =>
          withRoom(dependencies.connections.requestOwner(peer), options.messageBytes),
        enter: (peer, end) => dependencies.connections.enterCall(peer, end),
        onRefused: (_peer, error) => dependencies.refusals.count('request', error.code),
      }),
    ],
  });
  const guard = new Guard(dependencies);
  const exchanges = exchangesOf(dependencies.services);
  for (const service of serviceNames) {
    server.addService(
      withCertificateAnswers(withEncodedRequests(serviceDefinition(service))),
      guardedService(guard, dependencies.operations, exchanges, service),
    );
    await setImmediate();
  }
  addControlPlanes(server, guard, dependencies.controlPlanes);
  await setImmediate();
  const { health } = await addLibraryServices(server, guard);
  return {
    server,
    setServing: (serving) => health.setStatus('', serving ? 'SERVING' : 'NOT_SERVING'),
  };
}

/**
 * A caller that may send large messages gets room for four of the largest, also if the
 * configuration allows larger ones.
 */
const withRoom = (
  owner: RequestOwner | undefined,
  messageBytes: number,
): RequestOwner | undefined =>
  owner === undefined || owner.bytes < 1024 * 1024
    ? owner
    : { name: owner.name, bytes: Math.max(owner.bytes, 4 * messageBytes) };
