import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves when the condition holds; throws after `timeoutMs` (default 5 s). */
export async function until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${condition}`);
    await sleep(5);
  }
}
