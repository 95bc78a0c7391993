import { setTimeout as pause } from 'node:timers/promises';
import { PkiError, type ErrorCode } from '../errors/index.ts';

export interface RetryOptions {
  /** How long to try again; 0: not at all. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
  /** What a failure means to the caller. */
  readonly explain?: (error: PkiError) => PkiError;
}

const firstPauseMs = 500;
const longestPauseMs = 5_000;

const mayPass: ReadonlySet<ErrorCode> = new Set([
  'UNREACHABLE',
  'DEADLINE_EXCEEDED',
  'SHUTTING_DOWN',
  'TOKEN_ISSUER_UNREACHABLE',
  'OVERLOADED',
  'RATE_LIMITED',
  'HSM_UNAVAILABLE',
  'NO_ISSUER',
]);

/**
 * Acts again after failures that may pass. `act` must ask with one token and one key, so that a lost
 * answer comes again: with another key it would be a second use of the token.
 *
 * @throws PkiError the last failure
 */
export async function whileItMayPass<T>(
  { waitMs, signal, explain = (error) => error }: RetryOptions,
  act: () => Promise<T>,
): Promise<T> {
  const end = performance.now() + waitMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
    try {
      return await act();
    } catch (thrown) {
      const error = explain(PkiError.from(thrown));
      if (!mayPass.has(error.code) || performance.now() + pauseMs > end) throw error;
    }
    await pause(pauseMs, undefined, { signal });
  }
}
