import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { PkiError, unwrap } from '../common/errors/index.ts';
import {
  silentLogger,
  systemClock,
  systemRandom,
  type Clock,
  type Logger,
  type Random,
} from '../common/runtime/index.ts';
import { workloadContract } from '../common/wire/load.ts';
import { fromServiceError } from '../common/wire/status.ts';
import type { SpiffeWorkloadAPIClient } from '../common/wire/generated/SpiffeWorkloadAPI.ts';
import { endpointOfSocket, parseEndpoint, type WorkloadEndpoint } from './endpoint.ts';
import { endpointFromEnvironment } from './environment.ts';

/** The options of every source. */
export interface SourceOptions {
  /** `unix:///abs/path` or `tcp://IP:port`; default: SPIFFE_ENDPOINT_SOCKET. */
  readonly endpoint?: string;
  /** Absolute path of the agent's socket; instead of `endpoint`. */
  readonly socketPath?: string;
  /** Aborts `connect` while it waits. Does not close a connected source. */
  readonly signal?: AbortSignal;
  /**
   * How long `connect` waits for the first answer before it rejects with the last reason; default
   * 30 s.
   */
  readonly waitMs?: number;
  /**
   * Delay before a broken stream is opened again: grows from `initialMs` to `maximumMs`, always
   * spread.
   */
  readonly backoff?: { readonly initialMs: number; readonly maximumMs: number };
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface SourceContext {
  readonly endpoint: WorkloadEndpoint;
  readonly client: SpiffeWorkloadAPIClient;
  readonly waitMs: number;
  readonly backoff: { readonly initialMs: number; readonly maximumMs: number };
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: Random;
}

/** Throws ENDPOINT_INVALID. Opens no connection yet. */
export function sourceContext(options: SourceOptions): SourceContext {
  const endpoint = endpointOf(options);
  return {
    endpoint,
    client: connectClient(endpoint),
    waitMs: options.waitMs ?? 30_000,
    backoff: options.backoff ?? { initialMs: 100, maximumMs: 10_000 },
    logger: options.logger ?? silentLogger,
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  };
}

/** CRLs can be large. */
const largestMessageBytes = 64 * 1024 * 1024;

/**
 * The header that keeps a browser or a confused proxy from fetching identities (Workload Endpoint
 * section 6).
 */
export function securityHeader(): Metadata {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  // our agent sends CRLs only in messages that a client takes; others pass it over
  metadata.set('meshca-largest-message', String(largestMessageBytes));
  return metadata;
}

/**
 * The error of a failed call. PermissionDenied has one meaning in the Workload API of any agent: no
 * identity for this process.
 */
export function callFailure(error: ServiceError): PkiError {
  const failure = fromServiceError(error);
  return failure.code === 'CALLER_NOT_ADMITTED'
    ? new PkiError('NO_IDENTITY', failure.message, { cause: error })
    : failure;
}

function endpointOf(options: SourceOptions): WorkloadEndpoint {
  if (options.socketPath !== undefined && options.endpoint !== undefined) {
    throw new PkiError('ENDPOINT_INVALID', 'only one of socketPath and endpoint can be set');
  }
  if (options.socketPath !== undefined) return unwrap(endpointOfSocket(options.socketPath));
  const text = options.endpoint ?? endpointFromEnvironment();
  if (text === undefined || text === '')
    throw new PkiError(
      'ENDPOINT_INVALID',
      'there is no endpoint: neither an option nor SPIFFE_ENDPOINT_SOCKET is set',
    );
  return unwrap(parseEndpoint(text));
}

function connectClient(endpoint: WorkloadEndpoint): SpiffeWorkloadAPIClient {
  // the Workload API is plain gRPC on a local socket, where the kernel identifies the caller
  return new (workloadContract().packages.SpiffeWorkloadAPI)(
    endpoint.grpcTarget,
    credentials.createInsecure(),
    {
      // a proxy from the environment must never see this traffic
      'grpc.enable_http_proxy': 0,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.min_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.max_receive_message_length': largestMessageBytes,
      'grpc.default_authority': 'localhost',
    },
  );
}
