import type { PkiError } from '../../common/errors/index.ts';
import type {
  BundleRevision,
  Position,
  RegistrationEntry,
  RolloutPart,
} from '../../domain/index.ts';
import type { AgentCaller } from '../callers/caller.ts';
import type { StatedResult, VantageTask } from '../acme/vantage/vantage-task.ts';
import type { TargetAnswer, TargetReport } from '../targets/target-report.ts';

export interface SyncHello {
  readonly protocolVersion: number;
  readonly agentVersion: string;
  readonly capabilities: readonly string[];
  /** undefined: the agent needs a snapshot. */
  readonly position: Position | undefined;
  readonly bundleSequence: number;
  readonly survivedOutageSeconds: number;
  /** The newest checkpoint of the audit log that the agent holds; empty: none. */
  readonly logCheckpoint?: string;
  /**
   * Serial of the SVID on the agent's disk, empty if there is none. Absent: an agent of an older
   * release, which uses no SVID before it is stored.
   */
  readonly keptSerial?: string | undefined;
  /** Random, of the process; empty or absent: of an older release. */
  readonly instanceId?: string;
  /** What the agent found missing or damaged in its data directory. */
  readonly lostState?: readonly string[];
  /** The wall clock of the node, Unix milliseconds; 0 or absent: of an older release. */
  readonly clockMs?: number;
}

/** A bundle step that an agent did not take. */
export interface BundleRefusal {
  readonly sequence: number;
  readonly heldSequence: number;
  readonly code: string;
  readonly message: string;
}

/**
 * A message to an agent. One object may go to thousands of sessions: encode it once (WeakMap by
 * identity), and never change it.
 */
export type SyncMessage =
  | {
      readonly kind: 'welcome';
      readonly protocolVersion: number;
      readonly capabilities: readonly string[];
      readonly epoch: string;
      readonly serverTime: number;
      readonly serverVersion: string;
    }
  | {
      readonly kind: 'entries';
      readonly snapshotBegin: boolean;
      readonly snapshotEnd: boolean;
      readonly upserts: readonly RegistrationEntry[];
      readonly removedIds: readonly string[] /** Absent inside a snapshot. */;
      readonly position: Position | undefined;
    }
  | { readonly kind: 'bundles'; readonly steps: readonly BundleRevision[] }
  | {
      readonly kind: 'authorities';
      readonly tainted: readonly {
        readonly authorityId: string;
        readonly subjectKeyId: string;
        readonly windowSeconds: number;
        readonly taintedAt: number;
      }[];
      /** Issuing authorities that may sign now or next, each with its chain without the root. */
      readonly published: readonly {
        readonly authorityId: string;
        readonly chainDer: readonly Buffer[];
      }[];
      readonly crls: readonly {
        readonly authorityId: string;
        readonly der: Buffer;
        readonly nextUpdate: number;
      }[];
    }
  | {
      readonly kind: 'federated';
      /** All of them, sorted: others are trusted no more. */
      readonly trustDomains: readonly string[];
      readonly bundles: readonly {
        readonly trustDomain: string;
        readonly sequence: number;
        readonly document: string;
      }[];
    }
  | { readonly kind: 'checkpoint'; readonly note: string }
  /** Full state: certificates of this agent to replace, each with a new key. */
  | {
      readonly kind: 'replace';
      readonly serials: readonly string[];
      readonly windowSeconds: number;
    }
  | { readonly kind: 'renew-now' }
  | {
      readonly kind: 'target';
      readonly commandId: string;
      readonly target: string;
      readonly act: 'stage' | 'promote' | 'rollback' | 'turn';
      /** Only with `turn`. */
      readonly turn: { readonly set: string; readonly part: RolloutPart } | undefined;
    }
  | { readonly kind: 'vantage'; readonly task: VantageTask };

/**
 * The front's side of one Sync stream. Backpressure: `send` always takes the message, and returns
 * whether more may follow at once (the transport's `write`). After `false` the service sends
 * nothing until `SyncConnection.drained`. It queues nothing meanwhile, but remembers that something
 * changed. Then it sends the newest state from the position of the session.
 */
export interface SyncSession {
  send(message: SyncMessage): boolean;
  /**
   * Called by the service to end the session. The front ends the stream with this error and calls
   * `closed`.
   */
  close(error: PkiError): void;
}

export interface ConsumerState {
  readonly id: string;
  readonly kind: string;
  readonly spiffeId: string;
  /** Digests in hex; empty if the consumer can not tell. */
  readonly authoritySetDigest: string;
  readonly jwtSetDigest: string;
  readonly issuerSetDigest: string;
  readonly capabilities: readonly string[];
  readonly state: string;
  readonly reason: string;
  readonly since: number;
  readonly description: string;
  /** Unix seconds at which the certificate of a departed consumer ends; 0: it has not departed. */
  readonly departedUntil: number;
}

/**
 * TLS handshakes of one consumer with peers below one issuer key (hex, may be empty), counted since
 * `since`.
 */
export interface HandshakeReport {
  readonly spiffeId: string;
  readonly consumerId: string;
  readonly issuerKeyId: string;
  readonly succeeded: number;
  readonly failed: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly since: number;
}

export interface SyncConnection {
  /**
   * Reports consumers. Call in the order of arrival and await each call. After an error, close the
   * stream with it.
   *
   * @throws PkiError INVALID_REQUEST, REQUEST_TOO_LARGE
   */
  consumers(report: {
    readonly snapshot: boolean;
    readonly consumers: readonly ConsumerState[];
    readonly removedIds: readonly string[];
  }): Promise<void>;
  replaced(serials: readonly string[]): Promise<void>;
  handshakes(reports: readonly HandshakeReport[]): Promise<void>;
  /**
   * Facts about the agent itself. The survived outage and the refused bundle are only displayed. The
   * kept SVID is recorded when this resolves.
   */
  agent(report: {
    readonly survivedOutageSeconds: number;
    /** As in the hello; absent: unchanged. */
    readonly keptSerial?: string | undefined;
    /** Absent: it has refused none in this session. */
    readonly bundleRefusal?: BundleRefusal | undefined;
  }): Promise<void>;
  /** File targets of the agent. Errors as of `consumers`. */
  targets(report: TargetReport): void;
  /** The answer to a command. */
  targetAnswered(answer: TargetAnswer): void;
  /** What came of a validation. Of a task that was not sent to this session: ignored. */
  vantageAnswered(result: StatedResult): void;
  drained(): void;
  /** The stream has ended, from either side. Idempotent. */
  closed(): void;
}

export interface Sync {
  /**
   * Opens the session of an agent. An earlier one is closed with AGENT_SUPERSEDED. Nothing is sent
   * before this resolves.
   */
  open(caller: AgentCaller, hello: SyncHello, session: SyncSession): Promise<SyncConnection>;
  connectedCount(): number;
  isConnected(agentId: string): boolean;
  /** Of the connected agents that refuse the bundle of this server. */
  readonly bundleRefusals: {
    of(agentId: string): BundleRefusal | undefined;
    readonly size: number;
  };
  /**
   * Seconds that the wall clock of this server is ahead of those of most connected agents; 0: not
   * beyond the tolerance, or there are too few of them.
   */
  aheadOfAgents(toleranceSeconds: number): number;
  /** Ends every session with SHUTTING_DOWN and stops listening to the store. */
  close(): void;
}
