import type { PkiError } from '../../common/errors/index.ts';
import type { DelegateCaller } from '../callers/caller.ts';

export interface WatchHello {
  /** Stable name of this process of the control plane. */
  readonly instance: string;
  readonly version: string;
  readonly withoutCrls: boolean;
  readonly withReplacements: boolean;
  /** See `ReplacementPart`; may be empty. */
  readonly replacementsAfter: string;
}

/** What a control plane trusts. One object for all sessions: never change it. */
export interface TrustState {
  readonly trustDomainName: string;
  readonly sequence: number;
  readonly rootsDer: readonly Buffer[];
  readonly jwtKeys: readonly { readonly keyId: string; readonly spkiDer: Buffer }[];
}

export interface CrlState {
  readonly crls: readonly {
    readonly authorityId: string;
    readonly der: Buffer;
    readonly nextUpdate: number;
  }[];
  /** The set is too large for a message. */
  readonly onlyHttp: boolean;
}

export interface TaintState {
  readonly authorityId: string;
  readonly subjectKeyId: string;
  readonly windowSeconds: number;
  readonly taintedAt: number;
}

export interface RenewNowState {
  readonly ownCertificate: boolean;
  readonly items: readonly { readonly authorityId: string; readonly certificates: number }[];
}

/** Absent parts have not changed. */
export interface WatchMessage {
  readonly trust?: TrustState;
  readonly crls?: CrlState;
  readonly taints?: readonly TaintState[];
  readonly renewNow?: RenewNowState;
  readonly replacements?: ReplacementPart;
}

/** A certificate that has to be replaced. */
export interface DueCertificate {
  readonly serial: string;
  /** Empty: it has names alone. */
  readonly spiffeId: string;
  readonly dnsNames: readonly string[];
  readonly ips: readonly string[];
  readonly delegationId: string;
  readonly why: 'revoked' | 'key-blocked' | 'authority-tainted';
  /** Of a revocation; empty otherwise. */
  readonly reason: string;
  /** Unix seconds. */
  readonly since: number;
  readonly notAfter: number;
  /** The serial of a later one with the same names; empty: there is none. */
  readonly replacedBy: string;
}

export interface ReplacementPart {
  readonly certificates: readonly DueCertificate[];
  readonly windowSeconds: number;
  /** From where another stream goes on. */
  readonly cursor: string;
  readonly more: boolean;
}

export interface WatchedConsumer {
  readonly id: string;
  readonly spiffeId: string;
  /** Digests in hex; empty: not known. */
  readonly authoritySetDigest: string;
  readonly jwtSetDigest: string;
  readonly state: string;
  readonly reason: string;
  readonly since: number;
  readonly departedUntil: number;
}

/** What one process of a control plane, and what it serves, hold. */
export interface WatchReport {
  readonly authoritySetDigest: string;
  readonly jwtSetDigest: string;
  readonly consumers: readonly WatchedConsumer[];
  readonly namesAllHolders: boolean;
  readonly replacedSerials: readonly string[];
  readonly leaving: boolean;
}

/** The front's side of one stream. Backpressure as in `SyncSession`. */
export interface WatchTransport {
  send(message: WatchMessage): boolean;
  close(error: PkiError): void;
}

export interface WatchConnection {
  /**
   * Call in the order of arrival and await each call.
   *
   * @throws PkiError INVALID_REQUEST, REQUEST_TOO_LARGE, RATE_LIMITED: close the stream with it
   */
  report(report: WatchReport): Promise<void>;
  drained(): void;
  /** The stream has ended, from either side. Idempotent. */
  closed(): void;
}

export interface Watch {
  /** An earlier stream of the same process is closed with WATCH_SUPERSEDED. */
  open(
    caller: DelegateCaller,
    hello: WatchHello,
    transport: WatchTransport,
  ): Promise<WatchConnection>;
  isConnected(clientId: string): boolean;
}
