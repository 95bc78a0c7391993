import { PkiError } from '../common/errors/index.ts';
import { atTurnEnd } from '../common/runtime/index.ts';

/** Commits larger than this block the event loop for longer than they save (bench/store). */
export const commitLimit = 200;

/**
 * Group commit: callers hand in groups of items; groups that arrive while a batch is being worked
 * on, or within the same turn of the event loop, share the next batch. A lone group waits for
 * nothing but the turn's end.
 *
 * Owner of its queue. `work` gets at most `limit` items (a larger group goes alone, whole) and
 * returns one result per item.
 */
export class Batcher<T, R> {
  readonly #work: (items: readonly T[]) => Promise<readonly R[]>;
  readonly #limit: number;
  #queue: Group<T, R>[] = [];
  #running = false;

  constructor(work: (items: readonly T[]) => Promise<readonly R[]>, limit: number) {
    this.#work = work;
    this.#limit = limit;
  }

  /** A group that nobody wants any more when its batch begins is rejected with CANCELLED. */
  run(items: readonly T[], wanted: () => boolean = always): Promise<readonly R[]> {
    if (items.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#queue.push({ items, wanted, resolve, reject });
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
    this.#queue = this.#queue.filter(({ wanted, reject }) => {
      if (wanted()) return true;
      reject(new PkiError('CANCELLED', 'the client has gone'));
      return false;
    });
    let size = 0;
    let count = 0;
    for (const group of this.#queue) {
      if (count > 0 && size + group.items.length > this.#limit) break;
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

interface Group<T, R> {
  readonly items: readonly T[];
  readonly wanted: () => boolean;
  readonly resolve: (results: readonly R[]) => void;
  readonly reject: (error: unknown) => void;
}
