import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs } from '../test/support/until.ts';

/** The result of the work; rejects when patience ends, naming what was waited for. */
export async function within<T>(work: Promise<T>, what: string, limitMs = patienceMs): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      work,
      sleep(limitMs, undefined, { signal: late.signal }).then(() => {
        throw new Error(`not within ${limitMs / 1000} s: ${what}`);
      }),
    ]);
  } finally {
    late.abort();
  }
}
