import type { PolicyFacts, ReplayGroup, ReplayTotals } from '../../common/policy/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { RenewalLoss, RenewalLossTotals } from './renewal-losses.ts';

/** How far a review has read, from the newest record backwards. */
export interface ReviewProgress {
  readonly records: number;
  /** The time of the last record that was read, in Unix milliseconds. */
  readonly atMs: number;
}

export type ReplayStep =
  | { readonly type: 'progress'; readonly progress: ReviewProgress }
  | {
      readonly type: 'end';
      readonly groups: readonly ReplayGroup[];
      /** `groups`: how many there are, also beyond the limit. */
      readonly totals: ReplayTotals & { readonly groups: number };
    };

export interface RenewalReview {
  readonly losses: readonly RenewalLoss[];
  readonly totals: RenewalLossTotals & {
    readonly records: number;
    /** Records that the log does not vouch for. */
    readonly unproven: number;
    /** False: there was more to read than is read at most. */
    readonly complete: boolean;
    /** The version in force, from the beginning to the end of the review. */
    readonly version: number;
  };
}

export type RenewalStep =
  | { readonly type: 'progress'; readonly progress: ReviewProgress }
  | ({ readonly type: 'end' } & RenewalReview);

/** A decision as its record states it. */
export interface RecordedDecision {
  readonly record: { readonly sequence: number; readonly kind: string; readonly timeMs: number };
  readonly facts: PolicyFacts;
  readonly allowed: boolean;
  /** 0: the built-in policy. */
  readonly version: number;
  readonly rule: string | undefined;
}

/**
 * What policies decide of that which is on record and live. Nothing is changed. All requires
 * `policy.read`. Reviews read the log page by page, one review at a time (else OVERLOADED), and end
 * with `signal`.
 */
export interface PolicyReviews {
  /** Issuances and refusals of a time, decided by another policy. POLICY_INVALID. */
  replay(
    caller: OperatorCaller,
    asked: {
      readonly text: string;
      /** Unix milliseconds, both inclusive; undefined: no bound. */
      readonly sinceMs: number | undefined;
      readonly untilMs: number | undefined;
      /** The maximum number of groups. */
      readonly limit: number;
    },
    signal: AbortSignal,
  ): Promise<AsyncIterable<ReplayStep>>;
  /**
   * Live identities that the policy in force renews, and this one would not. CONFLICT if the version
   * in force is not `version`, or changes meanwhile. POLICY_INVALID.
   */
  renewalLosses(
    caller: OperatorCaller,
    asked: {
      readonly text: string;
      readonly version: number;
      /** The maximum number of losses. */
      readonly limit: number;
      /** How many records are read at most; default: a million. */
      readonly maximumRecords?: number;
    },
    signal: AbortSignal,
  ): Promise<AsyncIterable<RenewalStep>>;
  /**
   * @param id the serial of a certificate, the jti of a JWT-SVID, or the ID of a refusal. NOT_FOUND;
   * INVALID_REQUEST if no policy decides about it, or its record does not state the facts
   */
  decision(caller: OperatorCaller, id: string): Promise<RecordedDecision>;
}
