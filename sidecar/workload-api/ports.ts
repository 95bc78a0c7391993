import type { ErrorCode } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Attestor, Kernel } from '../attest/index.ts';
import type { BundleSource } from '../ports/bundles.ts';
import type { ConsumerRegistry } from '../ports/consumers.ts';
import type { EntryCache } from '../ports/entries.ts';
import type { HandshakeCount } from '../ports/handshakes.ts';
import type { SvidManager } from '../ports/svids.ts';
import type { RefusalLog } from './refusals.ts';
import type { SocketOptions } from './socket.ts';

export type WorkloadRpc =
  | 'FetchX509SVID'
  | 'FetchX509Bundles'
  | 'FetchJWTSVID'
  | 'FetchJWTBundles'
  | 'ValidateJWTSVID'
  | 'FetchWITSVID'
  | 'FetchWITBundles'
  | 'Report';

/** What the Workload API counts. All calls are cheap and never throw. */
export interface WorkloadApiMetrics {
  connectionOpened(): void;
  connectionClosed(): void;
  /** Closed at accept, before any call. */
  connectionRefused(reason: 'total' | 'uid'): void;
  streamOpened(rpc: WorkloadRpc): void;
  streamClosed(rpc: WorkloadRpc): void;
  /** A message left for the kernel. */
  delivered(rpc: WorkloadRpc): void;
  /** The reader has taken it, so many milliseconds later. */
  confirmed(rpc: WorkloadRpc, afterMs: number): void;
  refused(rpc: WorkloadRpc, code: ErrorCode): void;
}

export const silentWorkloadApiMetrics: WorkloadApiMetrics = {
  connectionOpened: () => {},
  connectionClosed: () => {},
  connectionRefused: () => {},
  streamOpened: () => {},
  streamClosed: () => {},
  delivered: () => {},
  confirmed: () => {},
  refused: () => {},
};

export interface WorkloadApiLimits {
  /** Upper bound; what the descriptor limit leaves after the reserve may be less. */
  readonly connections: number;
  readonly connectionsPerUid: number;
  readonly connectionsPerCgroup: number;
  readonly streamsPerConnection: number;
  readonly streamsPerUid: number;
  readonly streamsPerCgroup: number;
  /** Calls of all kinds, per uid and per cgroup. */
  readonly callsPerSecond: number;
  readonly callsBurst: number;
  /** Audience sets that a uid has not used lately: each costs a signature of the CA. */
  readonly newAudiencesPerMinute: number;
  readonly newAudiencesBurst: number;
  readonly audiencesPerRequest: number;
  /**
   * Largest request: a JWT-SVID to validate has at most 16 KiB, all audiences of a call together as
   * much.
   */
  readonly requestBytes: number;
  /** Of one call. */
  readonly metadataBytes: number;
  /** Requests that are under way or not complete yet, with their metadata: per uid, and of all. */
  readonly requestBytesPerUid: number;
  readonly requestBytesTotal: number;
  /** Descriptors that stay free for the rest of the agent. */
  readonly reservedDescriptors: number;
  /** A connection without its first call is closed after this. */
  readonly firstCallMs: number;
  /** A connection whose last call ended is closed after this. */
  readonly idleMs: number;
  /** A stream whose message is not taken for so long is closed. */
  readonly stallMs: number;
  /** How long the first message waits for SVIDs that are still being signed. */
  readonly firstMessageMs: number;
}

export const defaultLimits: WorkloadApiLimits = {
  connections: 8192,
  connectionsPerUid: 1024,
  connectionsPerCgroup: 512,
  streamsPerConnection: 32,
  streamsPerUid: 2048,
  streamsPerCgroup: 1024,
  callsPerSecond: 500,
  callsBurst: 2000,
  newAudiencesPerMinute: 60,
  newAudiencesBurst: 256,
  audiencesPerRequest: 16,
  requestBytes: 24 * 1024,
  metadataBytes: 8 * 1024,
  requestBytesPerUid: 4 * 1024 * 1024,
  requestBytesTotal: 16 * 1024 * 1024,
  reservedDescriptors: 256,
  firstCallMs: 10_000,
  idleMs: 120_000,
  stallMs: 30_000,
  firstMessageMs: 5_000,
};

export interface WorkloadApiOptions {
  readonly socket: SocketOptions;
  /** Not disposed by the API: the local API shares it. */
  readonly attestor: Attestor;
  readonly kernel?: Kernel;
  readonly entries: EntryCache;
  readonly svids: SvidManager;
  readonly bundles: BundleSource;
  readonly consumers: ConsumerRegistry;
  /** What a client library counted; checked to be within what the server takes. */
  readonly onHandshakes?: (count: HandshakeCount) => void;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics?: WorkloadApiMetrics;
  readonly limits?: Partial<WorkloadApiLimits>;
}

export interface WorkloadApi extends AsyncDisposable {
  readonly path: string;
  connections(): number;
  /**
   * Stops accepting, ends all streams with SHUTTING_DOWN and closes what is left after the grace.
   * Disposing is drain(1000).
   */
  drain(graceMs: number): Promise<void>;
}
