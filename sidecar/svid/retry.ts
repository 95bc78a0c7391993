import type { PkiError } from '../../src/common/errors/index.ts';
import { backoffMs, retryDelayMs } from '../schedule/index.ts';
import type { HeldRecord } from './held-record.ts';
import { passesByItself } from './signing-queue.ts';

/** First identities are retried soon, since someone waits for them. */
const firstRetry = { baseMs: 250, capMs: 10_000 };
const refusalRetry = { baseMs: 5_000, capMs: 300_000 };

/**
 * Notes a failure in the record. Returns when to retry, and whether the failure is a refusal that
 * waiting callers must see.
 */
export function afterFailure(
  record: HeldRecord,
  error: PkiError,
  nowMonotonicMs: number,
  random: number,
): { readonly retryAtMonotonicMs: number; readonly refused: boolean } {
  const { attempt } = record;
  record.attempt += 1;
  if (passesByItself(error)) {
    const delayMs =
      record.svid === undefined
        ? backoffMs(attempt, random, firstRetry)
        : retryDelayMs(
            attempt,
            random,
            record.lifetimeSeconds,
            record.expiresAtMonotonicMs - nowMonotonicMs,
          );
    return { retryAtMonotonicMs: nowMonotonicMs + delayMs, refused: false };
  }
  record.refusal = error;
  record.refusedUntilMonotonicMs = nowMonotonicMs + backoffMs(attempt, random, refusalRetry);
  return { retryAtMonotonicMs: record.refusedUntilMonotonicMs, refused: record.svid === undefined };
}
