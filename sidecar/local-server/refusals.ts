import type { ErrorCode } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';

export interface Refusal {
  readonly id: string;
  readonly code: ErrorCode;
  readonly message: string;
  /** Unix seconds. */
  readonly time: number;
  readonly pid: number;
  readonly uid: number;
  readonly selectors: readonly Selector[];
}

/**
 * Recent refusals, for `meshca explain --refusal`. Kept in memory and bounded. A uid can push out
 * only its own refusals.
 */
export interface RefusalLog {
  add(refusal: Refusal): void;
  get(id: string): Refusal | undefined;
}

export function createRefusalLog(
  bounds: { readonly perUid?: number; readonly total?: number } = {},
): RefusalLog {
  const { perUid = 64, total = 2048 } = bounds;
  const byId = new Map<string, Refusal>();
  const byUid = new Map<number, string[]>();
  const dropOldest = (uid: number): void => {
    const ids = byUid.get(uid) as string[];
    byId.delete(ids.shift() as string);
    if (ids.length === 0) byUid.delete(uid);
  };
  return {
    add(refusal) {
      byId.set(refusal.id, refusal);
      const ids = byUid.get(refusal.uid) ?? [];
      byUid.set(refusal.uid, ids);
      ids.push(refusal.id);
      if (ids.length > perUid) dropOldest(refusal.uid);
      if (byId.size <= total) return;
      // the uid with the most refusals loses one; among equals, the uid seen first
      let most: readonly [number, number] = [refusal.uid, 0];
      for (const [uid, list] of byUid) if (list.length > most[1]) most = [uid, list.length];
      dropOldest(most[0]);
    },
    get: (id) => byId.get(id),
  };
}
