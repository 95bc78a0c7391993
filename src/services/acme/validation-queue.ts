/** One challenge that waits. */
export interface Waiting {
  readonly accountId: string;
  readonly orderId: string;
  /** The place of the authorization in the order. */
  readonly place: number;
  readonly type: string;
}

export interface QueueLimits {
  /** So many run at the same time. */
  readonly concurrent: number;
  /** And so many of one account. */
  readonly perAccount: number;
  /** More are not taken: the database has them. One account has a quarter of these places. */
  readonly waiting: number;
}

/**
 * Which challenge is validated next: the accounts take turns, and none has all places, however many
 * silent hosts its orders name. Owner of what waits and runs.
 */
export class ValidationQueue<T extends Waiting> {
  readonly #limits: QueueLimits;
  /** By account; the first account has the next turn. */
  readonly #waiting = new Map<string, T[]>();
  readonly #running = new Map<string, number>();
  readonly #known = new Set<string>();
  #waits = 0;
  #runs = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get running(): number {
    return this.#runs;
  }

  get waiting(): number {
    return this.#waits;
  }

  /** False: it waits or runs already, or there is no place. */
  add(item: T): boolean {
    const key = keyOf(item);
    if (this.#known.has(key) || this.#waits >= this.#limits.waiting) return false;
    const others = this.#waiting.get(item.accountId);
    if (others !== undefined && others.length >= this.#limits.waiting / 4) return false;
    this.#known.add(key);
    this.#waits += 1;
    if (others === undefined) this.#waiting.set(item.accountId, [item]);
    else others.push(item);
    return true;
  }

  /** The next one, which runs from now on until `done`. */
  next(): T | undefined {
    const { concurrent, perAccount } = this.#limits;
    if (this.#runs >= concurrent) return undefined;
    for (const [accountId, items] of this.#waiting) {
      const running = this.#running.get(accountId) ?? 0;
      if (running >= perAccount) continue;
      const item = items.shift() as T;
      this.#waiting.delete(accountId);
      if (items.length > 0) this.#waiting.set(accountId, items);
      this.#waits -= 1;
      this.#runs += 1;
      this.#running.set(accountId, running + 1);
      return item;
    }
    return undefined;
  }

  done(item: T): void {
    this.#known.delete(keyOf(item));
    this.#runs -= 1;
    const running = (this.#running.get(item.accountId) ?? 1) - 1;
    if (running > 0) this.#running.set(item.accountId, running);
    else this.#running.delete(item.accountId);
  }

  /** What runs goes on. */
  clear(): void {
    for (const items of this.#waiting.values())
      for (const item of items) this.#known.delete(keyOf(item));
    this.#waiting.clear();
    this.#waits = 0;
  }
}

/** One challenge, whatever attempt at it. */
export const keyOf = ({ orderId, place, type }: Omit<Waiting, 'accountId'>): string =>
  `${orderId}/${place}/${type}`;
