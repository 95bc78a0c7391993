import { createHook } from 'node:async_hooks';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { AgentEntry } from '../../sidecar/ports/entries.ts';
import { until } from './until.ts';

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
      options.signal?.addEventListener(
        'abort',
        () => {
          cancel();
          reject(options.signal?.reason as Error);
        },
        { once: true },
      );
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
      for (const timer of this.#timers)
        if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
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

/**
 * Jobs that make keys on the thread pool. A synchronous job is over when its call returns; it has no
 * `ondone`, runs no `after` hook, and `destroy` comes with a garbage collection only.
 */
const keyJobs = new Map<number, { readonly ondone?: unknown }>();
createHook({
  init: (id, type, _trigger, job) => void (type === 'KEYPAIRGENREQUEST' && keyJobs.set(id, job)),
  after: (id) => void keyJobs.delete(id),
  destroy: (id) => void keyJobs.delete(id),
}).enable();
function keysInTheMaking(): boolean {
  for (const [id, job] of keyJobs) if (typeof job.ondone !== 'function') keyJobs.delete(id);
  return keyJobs.size > 0;
}

/**
 * Lets promise chains, immediates and the making of keys (on the thread pool, which a loaded
 * machine may starve) run to their end.
 */
export const settle = async (turns = 20): Promise<void> => {
  const turn = async (): Promise<void> => {
    for (let each = 0; each < turns; each += 1)
      await new Promise((resolve) => setImmediate(resolve));
  };
  await turn();
  while (keysInTheMaking()) await until(() => !keysInTheMaking(), 'keys are made').then(turn);
  await new Promise((resolve) => setTimeout(resolve, 1));
  await turn();
};

/** Waits for what real threads still have to do; the caller asserts the condition afterwards. */
export const eventually = (condition: () => boolean): Promise<void> =>
  until(condition).catch(() => undefined);

/** `spiffe://td/<id>` for processes with these selectors. */
export const entryOf = (
  id: string,
  texts: readonly string[],
  more: Partial<AgentEntry> = {},
): AgentEntry => ({
  id,
  revision: 1,
  spiffeId: `spiffe://td/${id}`,
  selectors: texts.map((text) => ({
    type: text.slice(0, text.indexOf(':')),
    value: text.slice(text.indexOf(':') + 1),
  })),
  x509TtlSeconds: 0,
  jwtTtlSeconds: 0,
  hint: '',
  dnsNames: [],
  expiresAt: 0,
  isTemplate: false,
  placeholders: new Map(),
  createdAt: 1,
  createdOrder: 0,
  federatesWith: [],
  profile: 'short-lived',
  ips: [],
  ...more,
});
