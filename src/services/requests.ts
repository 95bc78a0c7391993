import { PkiError } from '../common/errors/index.ts';
import { isOneLine, uuidv7 } from '../common/runtime/index.ts';
import type { PageRequest } from '../store/ports/index.ts';
import type { AgentCaller, Caller } from './callers/caller.ts';

/** Of the services, and so of the API: `Page` in admin.proto says it. */
export const maximumPageSize = 500;
const defaultPageSize = 100;
export const maximumBatch = 500;

const requestIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** @throws PkiError INVALID_REQUEST */
export function checkRequestId(requestId: string): void {
  if (!requestIdPattern.test(requestId))
    throw new PkiError(
      'INVALID_REQUEST',
      'request_id is not a UUID or another text of [A-Za-z0-9._-], up to 64',
    );
}

/**
 * The given ID, or a new one. A caller without an ID can not ask for the same certificate again.
 *
 * @throws PkiError INVALID_REQUEST
 */
export function requestIdOrNew(requestId: string, nowMs: number): string {
  if (requestId === '') return uuidv7(nowMs);
  checkRequestId(requestId);
  return requestId;
}

/**
 * 0 or less gives 100. More than the maximum gives the maximum, as AIP-158 wants: whoever needs the
 * whole list reads until there is no next page.
 */
export function checkPage(page: PageRequest): PageRequest {
  const size =
    Number.isSafeInteger(page.size) && page.size > 0
      ? Math.min(page.size, maximumPageSize)
      : defaultPageSize;
  const { after, signal } = page;
  return { size, signal, ...(after === undefined || after === '' ? {} : { after }) };
}

/**
 * Checks free text for records.
 *
 * @throws PkiError INVALID_REQUEST
 */
export function checkText(name: string, text: string, maximum: number): string {
  if (text.length > maximum || !isOneLine(text))
    throw new PkiError(
      'INVALID_REQUEST',
      `${name} has control characters or more than ${maximum} characters`,
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

/** @throws PkiError RATE_LIMITED with the time to wait */
export function enforceRate(waitMs: number, reason: string): void {
  if (waitMs > 0)
    throw new PkiError('RATE_LIMITED', `${reason}: try again in ${waitMs} ms`, {
      detail: { waitMs },
    });
}

/**
 * 0 gives the maximum. A life outside the range is refused, never shortened silently.
 *
 * @throws PkiError TTL_OUT_OF_RANGE
 */
export function ttlWithin(requestedSeconds: number, minimum: number, maximum: number): number {
  if (requestedSeconds === 0) return maximum;
  if (
    !Number.isSafeInteger(requestedSeconds) ||
    requestedSeconds < Math.min(minimum, maximum) ||
    requestedSeconds > maximum
  )
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the lifetime of ${requestedSeconds} s is outside ${Math.min(minimum, maximum)} to ${maximum} s`,
    );
  return requestedSeconds;
}

/** Like `ttlWithin`, but a life outside of the range is brought into it. */
export function ttlClamped(requestedSeconds: number, minimum: number, maximum: number): number {
  if (!Number.isSafeInteger(requestedSeconds) || requestedSeconds <= 0) return maximum;
  return Math.min(Math.max(requestedSeconds, minimum), maximum);
}

/**
 * The second check behind the front's table.
 *
 * @throws PkiError CALLER_NOT_ADMITTED
 */
export function requireAgent(caller: AgentCaller): void {
  const actual = caller as Caller;
  if (actual.class !== 'agent')
    throw new PkiError(
      'CALLER_NOT_ADMITTED',
      `only agents may do this, not ${actual.class} callers`,
    );
}
