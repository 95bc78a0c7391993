import type { ErrorCode } from '../common/errors/index.ts';
import type { SignItem, SignOutcome } from './signing-port.ts';

/** One item on its way through the signers. Only the first call of `settle` counts. */
export interface QueuedItem {
  readonly item: SignItem;
  readonly settle: (outcome: SignOutcome) => void;
  /** Aborted when no caller waits for the signature any more. */
  readonly signal: AbortSignal | undefined;
}

export const failedOutcome = (code: ErrorCode, message: string): SignOutcome => ({
  ok: false,
  kind: 'failed',
  code,
  message,
});

/**
 * First in, first out. Items of all callers share the queue, so that a unary call shares a
 * hand-over with its neighbours.
 */
export class SignQueue {
  #items: QueuedItem[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: QueuedItem): void {
    this.#items.push(item);
  }

  /** Takes at most `count` items. Items that no caller waits for are settled and left out. */
  take(count: number): QueuedItem[] {
    const taken: QueuedItem[] = [];
    while (taken.length < count && this.length > 0) {
      const next = this.#items[this.#head] as QueuedItem;
      this.#head += 1;
      if (next.signal?.aborted === true)
        next.settle(failedOutcome('CANCELLED', 'the client has gone'));
      else taken.push(next);
    }
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 4096) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return taken;
  }

  failAll(code: ErrorCode, message: string): void {
    for (const { settle } of this.take(this.length)) settle(failedOutcome(code, message));
  }
}

/** The items of one call, and the promise of their outcomes in the order of the items. */
export function callOf(
  items: readonly SignItem[],
  signal?: AbortSignal,
): {
  readonly queued: readonly QueuedItem[];
  readonly outcomes: Promise<readonly SignOutcome[]>;
} {
  const outcomes = new Array<SignOutcome>(items.length);
  let open = items.length;
  let resolveAll: (outcomes: readonly SignOutcome[]) => void = () => {};
  const all = new Promise<readonly SignOutcome[]>((resolve) => {
    resolveAll = resolve;
  });
  if (open === 0) resolveAll(outcomes);
  const queued = items.map((item, index) => ({
    item,
    signal,
    settle: (outcome: SignOutcome) => {
      if (outcomes[index] !== undefined) return;
      outcomes[index] = outcome;
      open--;
      if (open === 0) resolveAll(outcomes);
    },
  }));
  return { queued, outcomes: all };
}
