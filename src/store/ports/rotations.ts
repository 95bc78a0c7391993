import type { AuditEvent, RotationOperation } from '../../domain/index.ts';
import type { Lease } from './leases.ts';

/** Goals of rotation, and what a decision on them is made from. */
export interface RotationStore {
  /** CONFLICT when one of its kind is under way. */
  create(operation: RotationOperation, event: AuditEvent, lease?: Lease): Promise<void>;
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
  ): Promise<RotationOperation>;
  byId(id: string): Promise<RotationOperation | undefined>;
  /** Newest first; `underWay`: those that are running or paused. */
  list(filter: { readonly underWay: boolean }): Promise<readonly RotationOperation[]>;
  /**
   * By the rows of the inventory, what each authority may have signed for others, CAs downstream that were not revoked among
   * them: latest notAfter of anything issued, abandoned or in the making that has not been over for
   * longer than the margin, and how many are live.
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
  /** Of every holder with a leaf that is not expired: latest notAfter. */
  lastNotAfterByHolder(now: number): Promise<ReadonlyMap<string, number>>;
  /**
   * Leaves, and certificates of CAs downstream, of holders that are no agents: given up to `since`,
   * and in all.
   */
  unheld(
    since: number,
    now: number,
  ): Promise<{ readonly waiting: number; readonly total: number; readonly until: number }>;
  /**
   * Of leaves of holders that are no agents, given up to `since` and not over then: the latest
   * notAfter before `now`, or 0.
   */
  reliedExpiry(since: number, now: number): Promise<number>;
  /** See ClockGuard. */
  clockAnchor(): Promise<
    { readonly bootId: string; readonly uptimeMs: number; readonly wallMs: number } | undefined
  >;
  setClockAnchor(anchor: {
    readonly bootId: string;
    readonly uptimeMs: number;
    readonly wallMs: number;
  }): Promise<void>;
}
