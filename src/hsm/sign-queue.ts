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

/** First in, first out. */
class Lane {
  #items: { readonly queued: QueuedItem; readonly sinceMs: number }[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** When the first item came; undefined: there is none. */
  get sinceMs(): number | undefined {
    return this.#items[this.#head]?.sinceMs;
  }

  push(queued: QueuedItem, sinceMs: number): void {
    this.#items.push({ queued, sinceMs });
  }

  take(count: number): QueuedItem[] {
    const taken: QueuedItem[] = [];
    while (taken.length < count && this.length > 0) {
      const { queued } = this.#items[this.#head] as { readonly queued: QueuedItem };
      this.#head += 1;
      if (queued.signal?.aborted === true)
        queued.settle(failedOutcome('CANCELLED', 'the client has gone'));
      else taken.push(queued);
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
}

/** So long items wait for which nobody waits; then they have every second turn. */
const backgroundPatienceMs = 250;

/** Whose items go to a signer next. */
export interface QueueTurn {
  /** `late`: in the background, and waiting for long. */
  readonly of: 'callers' | 'background' | 'late';
  readonly queued: number;
}

/**
 * Items of all callers share a lane, so that a unary call shares a hand-over with its neighbours.
 * Items for which nobody waits have another one, whose turn it is when the first one is empty.
 */
export class SignQueue {
  readonly #callers = new Lane();
  readonly #background = new Lane();
  #lastOf: QueueTurn['of'] = 'callers';

  get length(): number {
    return this.#callers.length + this.#background.length;
  }

  push(queued: QueuedItem, nowMs: number): void {
    (queued.item.background === true ? this.#background : this.#callers).push(queued, nowMs);
  }

  /** undefined: nothing waits. */
  turn(nowMs: number): QueueTurn | undefined {
    const { length, sinceMs = nowMs } = this.#background;
    const isLate = length > 0 && nowMs - sinceMs >= backgroundPatienceMs;
    if (this.#callers.length > 0 && !(isLate && this.#lastOf === 'callers'))
      return { of: 'callers', queued: this.#callers.length };
    return length === 0 ? undefined : { of: isLate ? 'late' : 'background', queued: length };
  }

  /**
   * Takes at most `count` items of one turn. Items that no caller waits for are settled and left
   * out.
   */
  take({ of }: QueueTurn, count: number): QueuedItem[] {
    this.#lastOf = of;
    return (of === 'callers' ? this.#callers : this.#background).take(count);
  }

  failAll(code: ErrorCode, message: string): void {
    for (const lane of [this.#callers, this.#background])
      for (const { settle } of lane.take(lane.length)) settle(failedOutcome(code, message));
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
