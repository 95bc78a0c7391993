import { PkiError } from '../common/errors/index.ts';
import { atTurnEnd } from '../common/runtime/index.ts';

/** Larger commits block the event loop longer than they save (bench/store). */
export const commitLimit = 200;

/**
 * Group commit. Callers submit groups of items. Groups that arrive in the same turn of the event
 * loop, or while a batch is in work, share the next batch. A lone group waits only until the end of
 * the turn.
 *
 * Owner of its queue. `work` gets at most `limit` items, and no more than `sizeOf` says of the
 * number that waits. It returns one result per item. A larger group goes alone and whole.
 */
export class Batcher<T, R> {
  readonly #work: (items: readonly T[]) => Promise<readonly R[]>;
  readonly #limit: number;
  readonly #sizeOf: (waiting: number) => number;
  #queue: Group<T, R>[] = [];
  #running = false;

  constructor(
    work: (items: readonly T[]) => Promise<readonly R[]>,
    limit: number,
    sizeOf: (waiting: number) => number = all,
  ) {
    this.#work = work;
    this.#limit = limit;
    this.#sizeOf = sizeOf;
  }

  /** Rejects with CANCELLED if no caller waits for the group when its batch begins. */
  run(items: readonly T[], isWanted: () => boolean = always): Promise<readonly R[]> {
    if (items.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#queue.push({ items, isWanted, resolve, reject });
      if (this.#running) return;
      this.#running = true;
      atTurnEnd('gather', () => void this.#drain());
    });
  }

  get waiting(): number {
    return this.#queue.reduce((sum, group) => sum + group.items.length, 0);
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const groups = this.#take();
      if (groups.length > 0) await this.#runOne(groups);
    }
    this.#running = false;
  }

  #take(): readonly Group<T, R>[] {
    this.#queue = this.#queue.filter(({ isWanted, reject }) => {
      if (isWanted()) return true;
      reject(new PkiError('CANCELLED', 'the client has gone'));
      return false;
    });
    const limit = Math.min(this.#sizeOf(this.waiting), this.#limit);
    let size = 0;
    let count = 0;
    for (const group of this.#queue) {
      if (count > 0 && size + group.items.length > limit) break;
      size += group.items.length;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #runOne(groups: readonly Group<T, R>[]): Promise<void> {
    try {
      const results = await this.#work(
        groups.length === 1
          ? (groups[0] as Group<T, R>).items
          : groups.flatMap((group) => group.items),
      );
      let start = 0;
      for (const group of groups) {
        group.resolve(results.slice(start, start + group.items.length));
        start += group.items.length;
      }
    } catch (error) {
      for (const group of groups) group.reject(error);
    }
  }
}

const always = (): boolean => true;
const all = (waiting: number): number => waiting;

interface Group<T, R> {
  readonly items: readonly T[];
  readonly isWanted: () => boolean;
  readonly resolve: (results: readonly R[]) => void;
  readonly reject: (error: unknown) => void;
}
