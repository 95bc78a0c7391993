import type { Clock } from '../../src/common/runtime/index.ts';

/** Longest sleep. It limits how late a suspend of the machine is noticed. */
const maximumSleepMs = 30_000;

/**
 * Keyed tasks, each at one instant of the monotonic clock, with a single timer for all. A binary
 * heap; a changed or removed key leaves a stale node behind, which is skipped. Owner: the caller of
 * the constructor. `run` must not throw.
 */
export class Agenda<K> {
  readonly #clock: Clock;
  readonly #run: (due: readonly K[]) => void;
  readonly #onWake: (() => void) | undefined;
  readonly #heap: { readonly at: number; readonly key: K }[] = [];
  readonly #at = new Map<K, number>();
  #cancelTimer: (() => void) | undefined;
  #timerAt = Infinity;
  #stopped = false;

  /** `onWake` is called at each wake, at least every 30 s, before due keys are handed to `run`. */
  constructor(clock: Clock, run: (due: readonly K[]) => void, onWake?: () => void) {
    this.#clock = clock;
    this.#run = run;
    this.#onWake = onWake;
  }

  /** Sets or moves a key. */
  set(key: K, atMonotonicMs: number): void {
    if (this.#stopped || this.#at.get(key) === atMonotonicMs) return;
    this.#at.set(key, atMonotonicMs);
    push(this.#heap, { at: atMonotonicMs, key });
    // the heap is rebuilt when most of its nodes are stale
    if (this.#heap.length > 64 && this.#heap.length > 2 * this.#at.size) {
      this.#heap.length = 0;
      for (const [each, at] of this.#at) push(this.#heap, { at, key: each });
    }
    this.#arm();
  }

  at(key: K): number | undefined {
    return this.#at.get(key);
  }

  delete(key: K): void {
    this.#at.delete(key);
  }

  close(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#heap.length = 0;
    this.#at.clear();
  }

  #arm(): void {
    const next = this.#heap[0];
    if (next === undefined || this.#stopped) return;
    const now = this.#clock.monotonicMs();
    const at = Math.min(next.at, now + maximumSleepMs);
    if (this.#cancelTimer !== undefined && this.#timerAt <= at) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    this.#cancelTimer = this.#clock.after(Math.max(0, at - now), () => this.#wake());
  }

  #wake(): void {
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    this.#onWake?.();
    const now = this.#clock.monotonicMs();
    const due: K[] = [];
    for (let next = this.#heap[0]; next !== undefined && next.at <= now; next = this.#heap[0]) {
      pop(this.#heap);
      if (this.#at.get(next.key) !== next.at) continue;
      this.#at.delete(next.key);
      due.push(next.key);
    }
    if (due.length > 0) this.#run(due);
    this.#arm();
  }
}

interface Timed {
  readonly at: number;
}

function push<T extends Timed>(heap: T[], node: T): void {
  let index = heap.push(node) - 1;
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if ((heap[parent] as T).at <= node.at) break;
    heap[index] = heap[parent] as T;
    index = parent;
  }
  heap[index] = node;
}

function pop<T extends Timed>(heap: T[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && (heap[child + 1] as T).at < (heap[child] as T).at) child += 1;
    if ((heap[child] as T).at >= last.at) break;
    heap[index] = heap[child] as T;
    index = child;
  }
  heap[index] = last;
}
