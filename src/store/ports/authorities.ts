import type { ActivationEvidence } from '../../common/tlog/index.ts';
import type {
  AuditEvent,
  Authority,
  AuthorityKind,
  AuthorityScope,
  AuthorityState,
} from '../../domain/index.ts';
import type { Lease } from './leases.ts';

export interface AuthorityStore {
  /** State `preparing`, durable before its key is generated. */
  create(authority: Authority, event: AuditEvent, lease?: Lease): Promise<void>;
  /**
   * preparing → prepared, once the key exists and the certificate is signed. `certificate`: its row
   * for the inventory (kind `authority`), inserted in the same transaction; absent for JWT keys,
   * and for authorities whose token is `external`: what others signed for themselves is not in our
   * inventory. `parentId` sets a parent that was not known at `create`.
   */
  complete(
    of: AuthorityVersion,
    made: {
      readonly spkiDer: Buffer;
      readonly certificateDer: Buffer | null;
      readonly subjectKeyId: string | null;
      readonly notBefore: number;
      readonly notAfter: number;
      readonly parentId?: string;
    },
    event: AuditEvent,
  ): Promise<Authority>;
  /**
   * Compare-and-set on version; an illegal transition throws CONFLICT naming the legal ones. Moves
   * the revision.
   */
  transition(
    of: { readonly id: string; readonly version: number; readonly now: number },
    to: AuthorityState,
    event: AuditEvent,
    context?: TransitionContext,
  ): Promise<Authority>;
  /** What an active one signs for. Compare-and-set on version. Moves the revision. */
  rescope(of: AuthorityVersion, scope: AuthorityScope, event: AuditEvent): Promise<Authority>;
  byId(id: string): Promise<Authority | undefined>;
  /** Not paged: there are few. Oldest first. */
  list(filter?: {
    readonly kind?: AuthorityKind;
    readonly states?: readonly AuthorityState[];
  }): Promise<readonly Authority[]>;
  /** Highest expiry of JWT-SVIDs that this authority may have signed. */
  highestJwtExpiry(id: string): Promise<number>;
}

/** Compare-and-set on the version, under a lease where there is one. */
export interface AuthorityVersion {
  readonly id: string;
  readonly version: number;
  readonly lease?: Lease | undefined;
}

export interface TransitionContext {
  /** The transition happens only while this lease's fence is the present one (LEASE_LOST). */
  readonly lease?: Lease;
  readonly scope?: AuthorityScope;
  readonly taintWindowSeconds?: number;
  /**
   * Who was counted before it signs: kept in the same transaction; the event's detail holds its
   * SHA-256 as `evidence`.
   */
  readonly evidence?: ActivationEvidence;
}
