/** Counts open items per key. */
export class OpenCounter {
  readonly #limit: number;
  readonly #open = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  count(key: string): number {
    return this.#open.get(key) ?? 0;
  }

  /** Returns the function that frees the place, or undefined if the key has no place left. */
  take(key: string): (() => void) | undefined {
    const open = this.count(key);
    if (open >= this.#limit) return undefined;
    this.#open.set(key, open + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.count(key) - 1;
      if (left === 0) this.#open.delete(key);
      else this.#open.set(key, left);
    };
  }
}

/** Remembers the values that a key used lately, so that only new ones are charged. */
export class RecentValues {
  readonly #perKey: number;
  readonly #recent = new Map<string, Set<string>>();

  constructor(perKey: number) {
    this.#perKey = perKey;
  }

  has(key: string, value: string): boolean {
    return this.#recent.get(key)?.has(value) ?? false;
  }

  add(key: string, value: string): void {
    let values = this.#recent.get(key);
    if (values === undefined) {
      if (this.#recent.size >= 1024)
        this.#recent.delete(this.#recent.keys().next().value as string);
      values = new Set();
      this.#recent.set(key, values);
    }
    values.delete(value);
    values.add(value);
    if (values.size > this.#perKey) values.delete(values.values().next().value as string);
  }
}
