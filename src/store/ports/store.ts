import type { PkiError } from '../../common/errors/index.ts';
import type { Position } from '../../domain/index.ts';
import type { AcmeStore } from './acme.ts';
import type { AgentStore } from './agents.ts';
import type { ApprovalStore } from './approvals.ts';
import type { AuditStore } from './audit.ts';
import type { AuthorityStore } from './authorities.ts';
import type { BlockedKeyStore } from './blocked-keys.ts';
import type { BundleStore } from './bundles.ts';
import type { CertificateStore } from './certificates.ts';
import type { ConsumerStore } from './consumers.ts';
import type { DelegationStore } from './delegations.ts';
import type { EntryStore } from './entries.ts';
import type { FederationStore } from './federation.ts';
import type { EvidenceStore } from './evidence.ts';
import type { IssuanceStore } from './issuance.ts';
import type { IssuancePolicyStore } from './issuance-policies.ts';
import type { JoinTokenStore } from './join-tokens.ts';
import type { LeaseStore } from './leases.ts';
import type { LogStore } from './log.ts';
import type { MetaStore } from './meta.ts';
import type { OcspStore } from './ocsp.ts';
import type { RetentionStore } from './retention.ts';
import type { RevocationStore } from './revocations.ts';
import type { RoleStore } from './roles.ts';
import type { RotationStore } from './rotations.ts';
import type { TenantStore } from './tenants.ts';
import type { TokenUseStore } from './token-uses.ts';

/**
 * The store's ports, one per noun.
 *
 * Every method is one transaction and resolves when it is durable (fdatasync done), so that a
 * caller may act on its answer. Audit events that are passed to a method are recorded in the same
 * transaction. Methods throw PkiError: NOT_FOUND, ALREADY_EXISTS, CONFLICT (compare-and-set
 * failed), STORE_*. No method retries, except in an engine with transient serialisation failures.
 *
 * Calls may be concurrent and are applied in some order. Calls that wait together may share one
 * commit; each stays atomic. If `signal` is aborted before the transaction of a write begins, the
 * transaction does not begin and the call rejects with the reason. A transaction that has begun is
 * finished. After `close`: SHUTTING_DOWN. An `expiresAt` is the first second in
 * which the object is no longer valid. The notAfter of a certificate is its last valid second
 * (inclusive).
 */
export interface Store {
  readonly issuance: IssuanceStore;
  readonly certificates: CertificateStore;
  readonly authorities: AuthorityStore;
  readonly evidence: EvidenceStore;
  readonly blockedKeys: BlockedKeyStore;
  readonly bundles: BundleStore;
  readonly rotations: RotationStore;
  readonly entries: EntryStore;
  readonly agents: AgentStore;
  readonly consumers: ConsumerStore;
  readonly tokens: JoinTokenStore;
  readonly tokenUses: TokenUseStore;
  readonly delegations: DelegationStore;
  readonly federation: FederationStore;
  readonly roles: RoleStore;
  readonly tenants: TenantStore;
  readonly acme: AcmeStore;
  readonly revocations: RevocationStore;
  readonly ocsp: OcspStore;
  readonly retention: RetentionStore;
  readonly approvals: ApprovalStore;
  readonly issuancePolicies: IssuancePolicyStore;
  readonly audit: AuditStore;
  readonly meta: MetaStore;
  readonly leases: LeaseStore;
  readonly log: LogStore;
  /** Called after each commit that moved the revision. Returns the unsubscribe function. */
  onRevision(listener: (position: Position) => void): () => void;
  /**
   * Writes a consistent copy of the database, as of some moment during the call, to a file that
   * must not exist. Writers are not blocked.
   */
  backup(path: string): Promise<void>;
  /** Called for each durable commit. Returns the unsubscribe function. */
  onCommit(listener: (commit: CommitFacts) => void): () => void;
  /**
   * Why nothing is read or written any more: a commit could not be made durable. The server must be
   * restarted.
   */
  failure(): PkiError | undefined;
  /**
   * The time since which every commit failed because of the disk or of another process on the
   * database. Undefined: the last commit succeeded. The next successful commit ends it. The engine
   * tries one without a write of a caller.
   */
  failing(): FailingCommits | undefined;
  close(): Promise<void>;
}

export interface FailingCommits {
  readonly seconds: number;
  readonly error: PkiError;
}

export interface CommitFacts {
  /** The number of writes that shared the commit. */
  readonly writes: number;
  /** From the begin of its transaction until it was durable. */
  readonly seconds: number;
}
