import { setTimeout as sleep } from 'node:timers/promises';

/**
 * How long a test waits for what has to come. Far above what anything takes, since it ends with the
 * condition: only a failure waits so long, and no slow or stalled machine makes one. Within the
 * limits of the runner (scripts/test.mjs) and of `runDrill`.
 */
export const patienceMs = 120_000;

/** Resolves when the condition holds; throws when patience ends, naming what was waited for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = String(condition),
): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${patienceMs / 1000} s: ${what}`);
    await sleep(5);
  }
}
