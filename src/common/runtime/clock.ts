/**
 * Time as an argument. Every instant in this code base is a whole number of Unix **seconds** unless
 * its name ends in `Ms`; every duration carries its unit in its name.
 */
export interface Clock {
  /** Wall clock, Unix milliseconds. */
  nowMs(): number;
  /** Wall clock, Unix seconds, rounded down. */
  now(): number;
  /** Milliseconds on the monotonic clock. Only differences have a meaning. */
  monotonicMs(): number;
  /**
   * Resolves after `delayMs`, never earlier by `monotonicMs`, or rejects with the signal's reason.
   * The timer does not keep the process alive if `unref`.
   */
  sleep(
    delayMs: number,
    options?: { readonly signal?: AbortSignal; readonly unref?: boolean },
  ): Promise<void>;
  /**
   * Calls back once after `delayMs`, never earlier by `monotonicMs`. Returns the cancel function.
   */
  after(delayMs: number, callback: () => void): () => void;
}

/** The longest delay that `setTimeout` takes. */
const longestTimerMs = 2_147_483_647;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  now: () => Math.floor(Date.now() / 1000),
  monotonicMs: () => performance.now(),
  sleep: (delayMs, { signal, unref = false } = {}) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason as Error);
      };
      const cancel = runAfter(
        delayMs,
        () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        unref,
      );
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  after: (delayMs, callback) => runAfter(delayMs, callback),
};

/**
 * A timer of Node may fire a part of a millisecond early: its own clock counts whole milliseconds.
 * Then it runs once more for what is left.
 */
function runAfter(delayMs: number, callback: () => void, unref = false): () => void {
  const dueMs = performance.now() + delayMs;
  const arm = (leftMs: number): NodeJS.Timeout => {
    const timer = setTimeout(fire, Math.min(Math.max(leftMs, 0), longestTimerMs));
    return unref ? timer.unref() : timer;
  };
  const fire = (): void => {
    const leftMs = dueMs - performance.now();
    if (leftMs <= 0) callback();
    else timer = arm(Math.ceil(leftMs));
  };
  let timer = arm(delayMs);
  return () => clearTimeout(timer);
}
