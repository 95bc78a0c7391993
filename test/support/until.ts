import { setTimeout as sleep } from 'node:timers/promises';

/**
 * How long a test waits for what has to come. Far above what anything takes, since it ends with the
 * condition: only a failure waits so long, and no slow or stalled machine makes one. Within the
 * limits of the runner (scripts/test.mjs) and of `runDrill`.
 */
export const patienceMs = 120_000;

/** The first pause between two looks at a condition, and the longest: many looks cost processor. */
const [firstPauseMs, lastPauseMs] = [5, 50];

/** Resolves when the condition holds; throws when patience ends, naming what was waited for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = String(condition),
  limitMs = patienceMs,
): Promise<void> {
  const end = performance.now() + limitMs;
  let pauseMs = firstPauseMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 1.5, lastPauseMs);
  }
}

/** Resolves when the wall clock is past this second: what was good through it has expired. */
export const past = (second: number): Promise<void> =>
  until(() => Date.now() >= (second + 1) * 1000, `second ${second} is over`);

/** One turn of the event loop, so that input and output that are ready are done. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
