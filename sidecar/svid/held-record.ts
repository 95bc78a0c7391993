import { PkiError } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { Identity } from '../ports/entries.ts';
import type { Unanswered } from './signing-queue.ts';

/** A replaced generation of an SVID. Some of its holders have not read the replacement yet. */
export interface Replaced {
  readonly serial: string;
  readonly holders: Set<object>;
}

/** The state of one identity. Owner: X509Svids. */
export interface HeldRecord {
  readonly key: string;
  identity: Identity;
  selectors: readonly Selector[];
  svid: HeldX509Svid | undefined;
  authorityId: string;
  lifetimeSeconds: number;
  expiresAtMonotonicMs: number;
  readonly subscriptions: Set<SubscriptionSink>;
  /** Whether the SVID is obtained ahead of use, and so renewed although nobody uses it. */
  prefetched: boolean;
  signing: boolean;
  /** Whether the call under way was made for an earlier revision of the entry. */
  signAgain: boolean;
  readonly unanswered: Unanswered;
  attempt: number;
  refusal: PkiError | undefined;
  refusedUntilMonotonicMs: number;
  /** Whether a holder left with the present SVID, so that its replacement can never be proven. */
  lost: boolean;
  replaced: Replaced[];
  /** Whether the record has ended. */
  dropped: boolean;
  /**
   * Whether no entry gives this identity at the moment although someone has a subscription. Then
   * nothing is served or requested.
   */
  withdrawn: boolean;
}

export interface SubscriptionSink {
  updated(svid: HeldX509Svid): void;
  failed(error: PkiError): void;
}

export const newRecord = (
  key: string,
  identity: Identity,
  selectors: readonly Selector[],
): HeldRecord => ({
  key,
  identity,
  selectors,
  svid: undefined,
  authorityId: '',
  lifetimeSeconds: 0,
  expiresAtMonotonicMs: 0,
  subscriptions: new Set(),
  prefetched: false,
  signing: false,
  signAgain: false,
  unanswered: {},
  attempt: 0,
  refusal: undefined,
  refusedUntilMonotonicMs: 0,
  lost: false,
  replaced: [],
  dropped: false,
  withdrawn: false,
});

export const currentOf = (record: HeldRecord, nowMonotonicMs: number): HeldX509Svid | undefined =>
  !record.dropped && !record.withdrawn && record.expiresAtMonotonicMs > nowMonotonicMs
    ? record.svid
    : undefined;

export const isInUse = (record: HeldRecord): boolean =>
  record.subscriptions.size > 0 || record.prefetched;

export const gone = (record: HeldRecord): PkiError =>
  new PkiError(
    'ENTRY_NOT_AUTHORIZED',
    `no entry gives ${record.identity.spiffeId.toString()} to this process any more`,
  );

/** Its right has ended: nothing of it is used or renewed any more. */
export function withdraw(record: HeldRecord): void {
  Object.assign(record, {
    withdrawn: true,
    svid: undefined,
    expiresAtMonotonicMs: 0,
    refusal: undefined,
    attempt: 0,
    replaced: [],
    lost: true,
    prefetched: false,
  } satisfies Partial<HeldRecord>);
}
