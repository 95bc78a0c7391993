import type { AuditEvent, ClockState, RotationOperation, UnheldFacts } from '../../domain/index.ts';
import type { Lease, WriteContext } from './leases.ts';
import type { Page, PageRequest } from './pages.ts';

/** A certificate that was not replaced, and who has it. */
export interface UnreplacedRow {
  readonly entryId: string | null;
  readonly delegationId: string | null;
  readonly requester: string;
  /** Its SPIFFE ID, or the first of its names. */
  readonly subject: string;
  readonly notAfter: number;
}

/** Goals of rotation, and the facts for decisions on them. */
export interface RotationStore {
  /** CONFLICT if one of its kind is under way. */
  create(operation: RotationOperation, event: AuditEvent, context?: WriteContext): Promise<void>;
  /** Compare-and-set on version. */
  update(
    of: {
      readonly id: string;
      readonly version: number;
      readonly now: number;
      readonly lease?: Lease | undefined;
    },
    change: {
      readonly state?: RotationOperation['state'];
      readonly spec?: RotationOperation['spec'];
    },
    event: AuditEvent,
    signal?: AbortSignal,
  ): Promise<RotationOperation>;
  byId(id: string): Promise<RotationOperation | undefined>;
  /** Newest first. `underWay`: only the running and paused ones. */
  list(filter: { readonly underWay: boolean }): Promise<readonly RotationOperation[]>;
  /**
   * What each authority may have signed for others, by the rows of the inventory, including
   * downstream CAs that were not revoked. The latest notAfter counts certificates that are issued,
   * abandoned or intended and that ended at most `margin` ago. Also the number of live ones.
   */
  signedBy(
    now: number,
    marginSeconds: number,
  ): Promise<
    ReadonlyMap<
      string,
      { readonly lastExpiry: number; readonly live: number; readonly liveUnreported: number }
    >
  >;
  /** The latest notAfter for every holder with a leaf that is not expired. */
  lastNotAfterByHolder(now: number): Promise<ReadonlyMap<string, number>>;
  /**
   * Counts leaves and certificates of downstream CAs whose holders are no agents: those issued
   * until `since`, and all. Of holders that keep their roots (`keepsItsRoots`), later ones count
   * with the first; those of holders that renew them (`renewsItsRoots`) do not count once there is a
   * later one. `named`: holders that name everybody who has their certificates, so that these
   * are not counted here.
   */
  unheld(since: number, now: number, named?: readonly string[]): Promise<UnheldFacts>;
  /**
   * What this authority signed for others that ends at `since` or later, and whose replacement
   * nobody has confirmed, the first to end first.
   */
  unreplaced(authorityId: string, since: number, page: PageRequest): Promise<Page<UnreplacedRow>>;
  /**
   * The latest notAfter before `now`, or 0, of leaves whose holders are no agents, that were issued
   * until `since` and were still valid then.
   */
  reliedExpiry(since: number, now: number): Promise<number>;
  /** Records what ClockGuard knows of the clock. There is no row of it. */
  recordClock(state: ClockState, event: AuditEvent): Promise<void>;
}
