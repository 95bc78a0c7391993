import type { LedgerLog } from '../ledger/index.ts';
import type { StoredCheckpoint } from '../store/ports/index.ts';
import { openInEpoch, type LogKeys } from './checkpoint-file.ts';
import { compareOutside, type OutsideCheckpoint } from './start-check.ts';

export type Seen =
  | { readonly found: 'unknown' }
  /** `size`: its records, 0 for a checkpoint of an earlier epoch. */
  | { readonly found: 'contained'; readonly size: number }
  | { readonly found: 'older' | 'rewritten'; readonly outside: OutsideCheckpoint };

const rememberedNotes = 512;

/** Caches the verdicts on checkpoints from elsewhere: thousands of agents hold the same few. */
export class SeenCheckpoints {
  readonly #log: Pick<LedgerLog, 'tile'>;
  readonly #known = new Map<string, Seen>();

  constructor(log: Pick<LedgerLog, 'tile'>) {
    this.#log = log;
  }

  /**
   * `unknown`: no key of the log signed it. Otherwise: how the tree under `latest` relates to it.
   */
  async look(note: string, latest: StoredCheckpoint | undefined, keys: LogKeys): Promise<Seen> {
    const cached = this.#known.get(note);
    if (cached !== undefined) return cached;
    const outside = openInEpoch(note, ...keys);
    const verdict =
      outside === undefined
        ? { found: 'unknown' as const }
        : await this.#compare(outside, latest, keys);
    if ('outside' in verdict) return verdict;
    if (this.#known.size >= rememberedNotes)
      this.#known.delete(this.#known.keys().next().value as string);
    this.#known.set(note, verdict);
    return verdict;
  }

  clear(): void {
    this.#known.clear();
  }

  async #compare(
    outside: OutsideCheckpoint,
    latest: StoredCheckpoint | undefined,
    keys: LogKeys,
  ): Promise<Seen> {
    const inside = latest === undefined ? undefined : openInEpoch(latest.note, ...keys);
    if (inside === undefined)
      return outside.size === 0 ? { found: 'contained', size: 0 } : { found: 'older', outside };
    const relation = await compareOutside(this.#log, inside, outside);
    return relation === 'contained'
      ? { found: relation, size: outside.epoch === inside.epoch ? outside.size : 0 }
      : { found: relation, outside };
  }
}
