import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs } from '../test/support/until.ts';

/** The work took longer than its limit. */
export class NotWithin extends Error {}

/** The result of the work; rejects with NotWithin when patience ends, naming what was waited for. */
export async function within<T>(work: Promise<T>, what: string, limitMs = patienceMs): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      work,
      sleep(limitMs, undefined, { signal: late.signal }).then(() => {
        throw new NotWithin(`not within ${limitMs / 1000} s: ${what}`);
      }),
    ]);
  } finally {
    late.abort();
  }
}
