import type { Clock } from '../../src/common/runtime/index.ts';
import type { AgentEntry } from '../../sidecar/contract.ts';

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** A clock that moves only when told. Wall and monotonic time can be moved apart. */
export class FakeClock implements Clock {
  #monotonic = 0;
  #wall: number;
  readonly #timers = new Set<Timer>();

  constructor(wallMs = 1_800_000_000_000) {
    this.#wall = wallMs;
  }

  nowMs(): number {
    return this.#wall;
  }

  now(): number {
    return Math.floor(this.#wall / 1000);
  }

  monotonicMs(): number {
    return this.#monotonic;
  }

  sleep(delayMs: number, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) {
        reject(options.signal.reason as Error);
        return;
      }
      const cancel = this.after(delayMs, resolve);
      options.signal?.addEventListener('abort', () => {
        cancel();
        reject(options.signal?.reason as Error);
      }, { once: true });
    });
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#monotonic + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Runs every timer that falls due, in order. */
  advance(milliseconds: number): void {
    const end = this.#monotonic + milliseconds;
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#move(next.at);
      next.callback();
    }
    this.#move(end);
  }

  /** The wall clock alone, as after a suspend or a correction. */
  jumpWall(milliseconds: number): void {
    this.#wall += milliseconds;
  }

  #move(monotonic: number): void {
    this.#wall += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}

/** Lets promise chains, immediates and the making of a key (on the thread pool) run. */
export const settle = async (turns = 20): Promise<void> => {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, turns >= 20 ? 10 : 1));
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** Waits for what real threads still have to do; the caller asserts the condition afterwards. */
export const eventually = async (condition: () => boolean): Promise<void> => {
  for (let turn = 0; turn < 1000 && !condition(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 2));
};

/** `spiffe://td/<id>` for processes with these selectors. */
export const entryOf = (id: string, texts: readonly string[], more: Partial<AgentEntry> = {}): AgentEntry => ({
  id, revision: 1, spiffeId: `spiffe://td/${id}`, selectors: texts.map((text) => ({ type: text.slice(0, text.indexOf(':')), value: text.slice(text.indexOf(':') + 1) })),
  x509TtlSeconds: 0, jwtTtlSeconds: 0, hint: '', dnsNames: [], expiresAt: 0, isTemplate: false, placeholders: new Map(), createdAt: 1, ...more,
});
