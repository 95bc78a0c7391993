import { PkiError } from '../common/errors/index.ts';
import { isOneLine, uuidv7 } from '../common/runtime/index.ts';
import type { PageRequest } from '../store/ports/index.ts';
import type { AgentCaller, Caller } from './callers/caller.ts';

export const maximumPageSize = 500;
export const maximumBatch = 500;

const requestIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Throws INVALID_REQUEST. */
export function checkRequestId(requestId: string): void {
  if (!requestIdPattern.test(requestId))
    throw new PkiError(
      'INVALID_REQUEST',
      'request_id is not a UUID or another text of [A-Za-z0-9._-], up to 64',
    );
}

/**
 * The ID as given, or a new one for a caller that gave none and so can not ask for the same
 * certificate again. Throws INVALID_REQUEST.
 */
export function requestIdOrNew(requestId: string, nowMs: number): string {
  if (requestId === '') return uuidv7(nowMs);
  checkRequestId(requestId);
  return requestId;
}

/** 0 or less gives 100; more than the maximum gives the maximum. */
export function checkPage(page: PageRequest): PageRequest {
  const size =
    Number.isSafeInteger(page.size) && page.size > 0 ? Math.min(page.size, maximumPageSize) : 100;
  return page.after === undefined || page.after === '' ? { size } : { size, after: page.after };
}

/** Free text for the record. Throws INVALID_REQUEST. */
export function checkText(what: string, text: string, maximum: number): string {
  if (text.length > maximum || !isOneLine(text))
    throw new PkiError(
      'INVALID_REQUEST',
      `${what} has control characters or more than ${maximum} characters`,
    );
  return text;
}

export function checkBatchSize(count: number): void {
  if (count === 0) throw new PkiError('INVALID_REQUEST', 'the batch is empty');
  if (count > maximumBatch)
    throw new PkiError(
      'REQUEST_TOO_LARGE',
      `a batch has at most ${maximumBatch} items, this one has ${count}`,
    );
}

/** Throws RATE_LIMITED with the time to wait. */
export function enforceRate(waitMs: number, what: string): void {
  if (waitMs > 0)
    throw new PkiError('RATE_LIMITED', `${what}: try again in ${waitMs} ms`, {
      detail: { waitMs },
    });
}

/** 0 gives the maximum. Throws TTL_OUT_OF_RANGE, nothing is cut silently. */
export function ttlWithin(asked: number, minimum: number, maximum: number): number {
  if (asked === 0) return maximum;
  if (!Number.isSafeInteger(asked) || asked < Math.min(minimum, maximum) || asked > maximum)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the lifetime of ${asked} s is outside ${Math.min(minimum, maximum)} to ${maximum} s`,
    );
  return asked;
}

/** The second fence behind the front's table. Throws CALLER_NOT_ADMITTED. */
export function requireAgent(caller: AgentCaller): void {
  const actual = caller as Caller;
  if (actual.class !== 'agent')
    throw new PkiError('CALLER_NOT_ADMITTED', `this is open to agents, not to ${actual.class}`);
}
