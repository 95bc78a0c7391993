/**
 * A page by key. `after` is the last key of the previous page (opaque to callers), never an offset.
 * A size outside 1 to 1,000 is clamped. An `after` that no page returned is INVALID_REQUEST.
 */
export interface PageRequest {
  readonly size: number;
  readonly after?: string;
  /** Aborted when nobody waits for the page any more: the read ends with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
}
