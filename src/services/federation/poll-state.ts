import type { PkiError } from '../../common/errors/index.ts';
import { staleFrom, type JudgedBundle } from '../../domain/index.ts';

/** What the polls of one relationship have brought. Kept by the process that polls. */
export interface PollState {
  /** Unix seconds; 0: none yet. */
  readonly attemptedAt: number;
  /** The last poll that confirmed or replaced the bundle; at first, when polling began. */
  readonly refreshedAt: number;
  readonly nextAt: number;
  readonly failures: number;
  /** Of the last poll; undefined: it succeeded. */
  readonly failure: PkiError | undefined;
  /** The last bundle that had fewer keys. */
  readonly shrunk: ShrunkBundle | undefined;
  /** It was announced that the bundle is stale. */
  readonly announcedStale: boolean;
}

export interface ShrunkBundle extends Pick<JudgedBundle, 'lostRoots' | 'lostJwtKeys'> {
  readonly at: number;
  readonly sequence: number;
}

export const firstState = (now: number): PollState => ({
  attemptedAt: 0,
  refreshedAt: now,
  nextAt: now,
  failures: 0,
  failure: undefined,
  shrunk: undefined,
  announcedStale: false,
});

export const isStale = (state: PollState, everySeconds: number, now: number): boolean =>
  state.failures > 0 && now >= staleFrom(state.refreshedAt, everySeconds);

export const afterSuccess = (
  state: PollState,
  { judged, now }: { readonly judged: JudgedBundle; readonly now: number },
): PollState => ({
  ...state,
  attemptedAt: now,
  refreshedAt: now,
  failures: 0,
  failure: undefined,
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
