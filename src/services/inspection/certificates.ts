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
   * Revokes a certificate. A repeated revocation is no error.
   *
   * @throws PkiError NOT_FOUND, REVOCATION_NOT_POSSIBLE (with an alternative and the certificate's
   *   end), CERTIFICATE_EXPIRED
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
  /** JSON lines of an export, several per chunk. */
  export(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
  /**
   * Yields undefined once no record can be missed any more, then each record when it is committed.
   */
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
   * The present database in chunks. Requires every verb on the whole trust domain, or the local
   * socket.
   */
  read(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
}

/** What a restored database lacks, as far as it is known, and what the restore brings back. */
export interface RestoreView {
  /** True until an operator accepts the loss. Nothing is signed until then. */
  readonly stale: boolean;
  /**
   * The number of records under checkpoints in the database, and under the newest known checkpoint.
   */
  readonly size: number;
  readonly expected: number;
  readonly foundBy: string;
  /** True if the lost records come from the replaced database and match what was signed. */
  readonly proven: boolean;
  readonly lost: readonly LostAct[];
  readonly comingBack: readonly {
    readonly kind: 'token' | 'authority' | 'agent';
    readonly id: string;
    readonly state: string;
  }[];
  /** The number of agents in the database. Only the first are named. */
  readonly agents: number;
}

export interface LostAct {
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
}

/** Both methods require every verb on the whole trust domain, or the local socket. */
export interface Restore {
  show(caller: OperatorCaller): Promise<RestoreView>;
  /**
   * `size`: the `expected` that the operator has seen.
   *
   * @throws PkiError CONFLICT if there is nothing to accept, or for another number
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
