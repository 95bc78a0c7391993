import type { AuditRecord, CertificateRecord, Position, Revocation } from '../../domain/index.ts';
import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { AuditFilter, CertificateFilter, Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Certificates {
  list(
    caller: OperatorCaller,
    filter: CertificateFilter,
    order: 'created' | 'newest' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>>;
  get(caller: OperatorCaller, serial: string): Promise<CertificateRecord>;
}

export interface Revocations {
  /**
   * Throws NOT_FOUND, REVOCATION_NOT_POSSIBLE (with what to do instead and when the certificate
   * ends), CERTIFICATE_EXPIRED. Revoking twice is no error.
   */
  revoke(
    caller: OperatorCaller,
    serial: string,
    reason: string,
  ): Promise<{ readonly certificate: CertificateRecord; readonly revocation: Revocation }>;
  of(serial: string): Promise<Revocation | undefined>;
}

export interface Mint {
  mint(
    caller: OperatorCaller,
    request: {
      readonly requestId: string;
      readonly spiffeId: string;
      readonly dnsNames: readonly string[];
      readonly csrDer: Buffer /** 0: the default. */;
      readonly ttlSeconds: number;
      readonly admin: boolean;
    },
    signal?: AbortSignal,
  ): Promise<{ readonly leaf: IssuedLeaf; readonly rootsDer: readonly Buffer[] }>;
}

export interface Audit {
  list(caller: OperatorCaller, filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  /** JSON lines of an export, some at a time. */
  export(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
  /** Yields undefined once nothing more can be missed, then each record as it is committed. */
  watch(
    caller: OperatorCaller,
    filter: { readonly identity?: string; readonly kind?: string; readonly actor?: string },
    signal: AbortSignal,
  ): Promise<
    AsyncIterable<{ readonly record: AuditRecord; readonly newHolder: boolean } | undefined>
  >;
}

export interface Backup {
  /**
   * The database as it is now, in pieces; takes every verb on the whole trust domain, or the local
   * socket.
   */
  read(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
}

/** What a database that was put back lacks, as far as it is known, and what comes back with it. */
export interface RestoreView {
  /** Nothing is signed before it is accepted. */
  readonly stale: boolean;
  /** Records under checkpoints in the database, and under the newest checkpoint that is known. */
  readonly size: number;
  readonly expected: number;
  readonly foundBy: string;
  /** The lost records come from the replaced database, and they are those that were signed. */
  readonly proven: boolean;
  readonly lost: readonly LostAct[];
  readonly comingBack: readonly {
    readonly kind: 'token' | 'authority' | 'agent';
    readonly id: string;
    readonly state: string;
  }[];
  /** Agents in the database; only the first of them are named. */
  readonly agents: number;
}

export interface LostAct {
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
}

/** Both take every verb on the whole trust domain, or the local socket. */
export interface Restore {
  show(caller: OperatorCaller): Promise<RestoreView>;
  /**
   * `size`: `expected` as it was looked at. Throws CONFLICT when there is nothing to accept, or by
   * another number.
   */
  accept(caller: OperatorCaller, size: number): Promise<RestoreView>;
}

export interface StatusView {
  readonly version: string;
  readonly trustDomainName: string;
  readonly startedAt: number;
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly hsmStatus: string;
  readonly agentsConnected: number;
  readonly position: Position;
  readonly unfinishedIntents: number;
  readonly serverCertificateNotAfter: number;
}

export interface Status {
  get(caller: OperatorCaller): Promise<StatusView>;
}
