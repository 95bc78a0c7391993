import type { SecureContext } from 'node:tls';
import type { ErrorCode } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Attestor, Kernel } from '../attest/index.ts';
import type { BundleSource } from '../ports/bundles.ts';
import type { ConsumerRegistry } from '../ports/consumers.ts';
import type { EntryCache } from '../ports/entries.ts';
import type { RefusalLog } from './refusals.ts';
import type { SocketApi } from './socket-api.ts';
import type { SocketOptions } from './socket.ts';
import type { UnidentifiedRates } from './unidentified.ts';

/**
 * `evicted`: it had no call under way, and its place was needed; `unidentified`: too many refusals
 * of its process, or of its user and control group.
 */
export type RefusedConnection = 'total' | 'uid' | 'evicted' | 'unidentified';

/**
 * The events that a local server counts. `rpc` is the name of a method that an API registered. The
 * functions are cheap and never throw.
 */
export interface LocalServerMetrics {
  connectionOpened(): void;
  connectionClosed(): void;
  /** Closed at accept, before any call. */
  connectionRefused(reason: RefusedConnection): void;
  streamOpened(rpc: string): void;
  streamClosed(rpc: string): void;
  /** The kernel has the message. */
  delivered(rpc: string): void;
  /** The reader has read the message, `afterMs` milliseconds later. */
  confirmed(rpc: string, afterMs: number): void;
  refused(rpc: string, code: ErrorCode): void;
  /** The HTTP/2 layer refused a stream or a connection, with an HTTP/2 code, before any handler. */
  http2Refused(what: 'stream' | 'connection', code: string): void;
}

export const silentMetrics: LocalServerMetrics = {
  connectionOpened: () => {},
  connectionClosed: () => {},
  connectionRefused: () => {},
  streamOpened: () => {},
  streamClosed: () => {},
  delivered: () => {},
  confirmed: () => {},
  refused: () => {},
  http2Refused: () => {},
};

export interface LocalServerLimits {
  /** An upper bound. The descriptor limit without the reserve may be lower. */
  readonly connections: number;
  readonly connectionsPerUid: number;
  readonly connectionsPerCgroup: number;
  readonly streamsPerConnection: number;
  readonly streamsPerUid: number;
  readonly streamsPerCgroup: number;
  /**
   * Calls of all kinds, and the messages of a client stream, per uid and per cgroup. The first
   * message of a stream, and one answer to each message that was sent, are free.
   */
  readonly callsPerSecond: number;
  readonly callsBurst: number;
  /** Refusals for want of an identity; see `UnidentifiedCharges`. */
  readonly unidentified: UnidentifiedRates;
  /** Largest request. */
  readonly requestBytes: number;
  /** Of one call. */
  readonly metadataBytes: number;
  /**
   * Bytes of requests under way or incomplete, with metadata: per uid, and below for all.
   */
  readonly requestBytesPerUid: number;
  readonly requestBytesTotal: number;
  /** The same for a uid that no API of the socket admits. */
  readonly requestBytesPerStranger: number;
  /** Descriptors that stay free for the rest of the agent. */
  readonly reservedDescriptors: number;
  /** A connection without its first call is closed after this. */
  readonly firstCallMs: number;
  /** A connection whose last call ended is closed after this. */
  readonly idleMs: number;
  /** A connection of a uid that no API of the socket admits is closed after this. */
  readonly strangerMs: number;
  /** A stream whose reader does not read or acknowledge a message for this long is closed. */
  readonly stallMs: number;
}

export const defaultLimits: LocalServerLimits = {
  connections: 8192,
  connectionsPerUid: 1024,
  connectionsPerCgroup: 512,
  streamsPerConnection: 32,
  streamsPerUid: 2048,
  streamsPerCgroup: 1024,
  callsPerSecond: 500,
  callsBurst: 2000,
  unidentified: {
    perImage: { perSecond: 5, burst: 50 },
    perGroup: { perSecond: 50, burst: 200 },
  },
  requestBytes: 24 * 1024,
  metadataBytes: 8 * 1024,
  requestBytesPerUid: 4 * 1024 * 1024,
  requestBytesTotal: 16 * 1024 * 1024,
  requestBytesPerStranger: 32 * 1024,
  reservedDescriptors: 256,
  firstCallMs: 10_000,
  idleMs: 120_000,
  strangerMs: 5_000,
  stallMs: 30_000,
};

/** What a socket shows to callers who speak TLS on it. */
export interface ShownCertificate {
  /** Of the present certificate. Undefined: there is none now, and connections are closed. */
  context(): SecureContext | undefined;
}

export interface LocalServerOptions {
  readonly socket: SocketOptions;
  /**
   * Callers speak TLS 1.3 on the socket. Absent: they speak HTTP/2 without TLS. It adds nothing to who
   * a caller is: that is what the kernel says.
   */
  readonly tls?: ShownCertificate;
  /** The APIs. Each answers calls of its own services. */
  readonly apis: readonly SocketApi[];
  /** Shared by several servers, so the server does not dispose it. */
  readonly attestor: Attestor;
  readonly kernel: Kernel;
  readonly entries: EntryCache;
  readonly bundles: BundleSource;
  readonly consumers: ConsumerRegistry;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: LocalServerMetrics;
  readonly limits: LocalServerLimits;
}

export interface LocalServer extends AsyncDisposable {
  readonly path: string;
  connections(): number;
  /**
   * Stops accepting, ends all streams with SHUTTING_DOWN and closes the remaining connections after
   * the grace. Disposing is drain(1000).
   */
  drain(graceMs: number): Promise<void>;
}
