import type { ActivationEvidence } from '../../common/tlog/index.ts';
import type {
  AuditEvent,
  Authority,
  AuthorityKind,
  AuthorityScope,
  AuthorityState,
} from '../../domain/index.ts';
import type { Lease, WriteContext } from './leases.ts';

export interface AuthorityStore {
  /** Records an authority in state `preparing`. It is durable before its key is generated. */
  create(authority: Authority, event: AuditEvent, context?: WriteContext): Promise<void>;
  /**
   * preparing → prepared, after the key exists and the certificate is signed. `certificate`: its
   * inventory row (kind `authority`), inserted in the same transaction. It is absent for JWT keys,
   * and for authorities with token `external`: certificates that other CAs signed for themselves
   * are not in our inventory. `parentId` sets a parent that was not known at `create`.
   */
  complete(
    of: AuthorityVersion,
    completion: {
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
   * Compare-and-set on the version. An illegal transition throws CONFLICT, which names the legal
   * ones. Moves the revision.
   */
  transition(
    of: { readonly id: string; readonly version: number; readonly now: number },
    to: AuthorityState,
    event: AuditEvent,
    context?: TransitionContext,
  ): Promise<Authority>;
  /**
   * Changes the scope of an active authority. Compare-and-set on the version. Moves the revision.
   */
  rescope(of: AuthorityVersion, scope: AuthorityScope, event: AuditEvent): Promise<Authority>;
  byId(id: string, signal?: AbortSignal): Promise<Authority | undefined>;
  /** Oldest first. Not paged: there are few. */
  list(filter?: {
    readonly kind?: AuthorityKind;
    readonly states?: readonly AuthorityState[];
  }): Promise<readonly Authority[]>;
  /** Highest expiry of the JWT-SVIDs that this authority may have signed. */
  highestJwtExpiry(id: string): Promise<number>;
}

/** Compare-and-set on the version, and on the lease's fence if there is a lease. */
export interface AuthorityVersion {
  readonly id: string;
  readonly version: number;
  readonly lease?: Lease | undefined;
}

export interface TransitionContext extends WriteContext {
  readonly scope?: AuthorityScope;
  readonly taintWindowSeconds?: number;
  /**
   * The consumers that were counted before it signs. Kept in the same transaction. The event's
   * detail holds the SHA-256 as `evidence`.
   */
  readonly evidence?: ActivationEvidence;
}
