import type { PkiError } from '../../common/errors/index.ts';
import type { BundleRevision, Position, RegistrationEntry } from '../../domain/index.ts';
import type { AgentCaller } from '../callers/caller.ts';

export interface SyncHello {
  readonly protocolVersion: number;
  readonly agentVersion: string;
  readonly capabilities: readonly string[];
  /** undefined: a snapshot is needed. */
  readonly position: Position | undefined;
  readonly bundleSequence: number;
  readonly survivedOutageSeconds: number;
  /** The newest checkpoint of the audit log that the agent holds; empty: none. */
  readonly logCheckpoint?: string;
  /**
   * Serial of the SVID that the agent has on its disk, empty where it has none. Absent: an agent of
   * an older release, which uses nothing before it is written down.
   */
  readonly keptSerial?: string | undefined;
}

/**
 * What goes down. One object may go to thousands of sessions: encode it once (WeakMap by identity),
 * and never change it.
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
      /**
       * Issuing authorities that may sign, now or next: from the authority up, without the root.
       */
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
  | { readonly kind: 'checkpoint'; readonly note: string };

/**
 * The front's half of one Sync stream. Backpressure: `send` always takes the message and answers
 * whether more may follow at once (the transport's `write`). After `false` the service sends
 * nothing until `SyncConnection.drained`; it queues nothing meanwhile but remembers *that*
 * something changed, and then sends the newest state from the position the session has.
 */
export interface SyncSession {
  send(message: SyncMessage): boolean;
  /** The service ends the session; the front ends the stream with this error and calls `closed`. */
  close(error: PkiError): void;
}

export interface ConsumerState {
  readonly id: string;
  readonly kind: string;
  readonly spiffeId: string;
  /** Digests in hex, empty where it can't tell. */
  readonly authoritySetDigest: string;
  readonly jwtSetDigest: string;
  readonly issuerSetDigest: string;
  readonly capabilities: readonly string[];
  readonly state: string;
  readonly reason: string;
  readonly since: number;
  readonly description: string;
  /** It has left with a certificate that ends then, Unix seconds; 0: it has not left. */
  readonly departedUntil: number;
}

/**
 * TLS handshakes as one consumer saw them with peers under one issuer key (hex, may be empty),
 * counted since `since`.
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
   * Throws INVALID_REQUEST or REQUEST_TOO_LARGE: close the stream with it. Call in the order
   * received, awaiting each.
   */
  consumers(report: {
    readonly snapshot: boolean;
    readonly consumers: readonly ConsumerState[];
    readonly removedIds: readonly string[];
  }): Promise<void>;
  replaced(serials: readonly string[]): Promise<void>;
  handshakes(reports: readonly HandshakeReport[]): Promise<void>;
  /**
   * What the agent says of itself. The outage is shown, and decides nothing; which SVID is kept is
   * on record when this resolves.
   */
  agent(report: {
    readonly survivedOutageSeconds: number;
    /** As in the hello; absent: unchanged. */
    readonly keptSerial?: string | undefined;
  }): Promise<void>;
  drained(): void;
  /** The stream is over, from either side. Idempotent. */
  closed(): void;
}

export interface Sync {
  /**
   * One session per agent: an earlier one is closed with AGENT_SUPERSEDED. Nothing is sent before
   * this has resolved.
   */
  open(caller: AgentCaller, hello: SyncHello, session: SyncSession): Promise<SyncConnection>;
  connectedCount(): number;
  isConnected(agentId: string): boolean;
  /** Ends every session with SHUTTING_DOWN and stops listening to the store. */
  close(): void;
}
