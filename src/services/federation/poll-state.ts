import type { PkiError } from '../../common/errors/index.ts';
import { staleFrom, type JudgedBundle, type ShrunkBundle } from '../../domain/index.ts';

/** What the polls of one relationship have brought. Kept by the process that polls. */
export interface PollState {
  /** Unix seconds; 0: none yet. */
  readonly attemptedAt: number;
  /**
   * The last poll that confirmed or replaced the bundle. At first what is on record of an earlier
   * process, else when polling began.
   */
  readonly refreshedAt: number;
  /** When this process began to poll. */
  readonly since: number;
  readonly nextAt: number;
  readonly failures: number;
  /** Of the last poll; undefined: it succeeded. */
  readonly failure: PkiError | undefined;
  /** The last bundle that had fewer keys. */
  readonly shrunk: ShrunkBundle | undefined;
  /** The bundle was stale when an earlier process ended, and nothing has confirmed it since. */
  readonly leftStale: boolean;
  /** It was announced that the bundle is stale. */
  readonly announcedStale: boolean;
}

/** What is on record of the polls of earlier processes. */
export interface PollRecord {
  /** Undefined: no success is on record. */
  readonly refreshedAt: number | undefined;
  readonly stale: boolean;
  readonly shrunk: ShrunkBundle | undefined;
}

const nothingOnRecord: PollRecord = { refreshedAt: undefined, stale: false, shrunk: undefined };

export const firstState = (now: number, record: PollRecord = nothingOnRecord): PollState => ({
  attemptedAt: 0,
  refreshedAt: record.refreshedAt ?? now,
  since: now,
  nextAt: now,
  failures: 0,
  failure: undefined,
  shrunk: record.shrunk,
  leftStale: record.stale,
  announcedStale: false,
});

/** A process that begins gives the endpoint as many polls as any other one. */
export const isStale = (state: PollState, everySeconds: number, now: number): boolean =>
  state.leftStale ||
  (state.failures > 0 && now >= staleFrom(Math.max(state.refreshedAt, state.since), everySeconds));

export const afterSuccess = (
  state: PollState,
  { judged, now }: { readonly judged: JudgedBundle; readonly now: number },
): PollState => ({
  ...state,
  attemptedAt: now,
  refreshedAt: now,
  failures: 0,
  failure: undefined,
  leftStale: false,
  announcedStale: false,
  shrunk:
    judged.lostRoots.length + judged.lostJwtKeys.length === 0
      ? state.shrunk
      : {
          at: now,
          sequence: judged.bundle.sequence,
          lostRoots: judged.lostRoots,
          lostJwtKeys: judged.lostJwtKeys,
        },
});

export const afterFailure = (state: PollState, failure: PkiError, now: number): PollState => ({
  ...state,
  attemptedAt: now,
  failures: state.failures + 1,
  failure,
});
