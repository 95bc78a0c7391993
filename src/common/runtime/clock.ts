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
   * Resolves after `delayMs`, or rejects with the signal's reason. The timer does not keep the
   * process alive if `unref`.
   */
  sleep(
    delayMs: number,
    options?: { readonly signal?: AbortSignal; readonly unref?: boolean },
  ): Promise<void>;
  /** Calls back once after `delayMs`; returns the cancel function. */
  after(delayMs: number, callback: () => void): () => void;
}

const maximumTimerMs = 2_147_483_647;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  now: () => Math.floor(Date.now() / 1000),
  monotonicMs: () => performance.now(),
  sleep: (delayMs, options = {}) =>
    new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        Math.min(Math.max(delayMs, 0), maximumTimerMs),
      );
      if (options.unref) timer.unref();
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), maximumTimerMs));
    return () => clearTimeout(timer);
  },
};
