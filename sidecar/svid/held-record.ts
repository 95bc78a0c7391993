import { PkiError } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { Identity } from '../ports/entries.ts';
import type { Unanswered } from './signing-queue.ts';

/**
 * A generation of an SVID that has been replaced and whose holders have not all read the
 * replacement.
 */
export interface Replaced {
  readonly serial: string;
  readonly holders: Set<object>;
}

/** All about one identity. Owner: X509Svids. */
export interface HeldRecord {
  readonly key: string;
  identity: Identity;
  selectors: readonly Selector[];
  svid: HeldX509Svid | undefined;
  authorityId: string;
  lifetimeSeconds: number;
  expiresAtMonotonicMs: number;
  readonly subscriptions: Set<SubscriptionSink>;
  /** Held ahead of use: renewed though nobody uses it. */
  prefetched: boolean;
  signing: boolean;
  /** The call under way was made for an earlier revision of the entry. */
  signAgain: boolean;
  readonly unanswered: Unanswered;
  attempt: number;
  refusal: PkiError | undefined;
  refusedUntilMonotonicMs: number;
  /** A holder left with the present SVID in hand: its replacement can never be proven. */
  lost: boolean;
  replaced: Replaced[];
  /** The record has ended. */
  dropped: boolean;
  /**
   * No entry gives this identity at the moment, but someone still holds a subscription: nothing is served
   * or asked for.
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
