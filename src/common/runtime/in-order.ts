/** What was added to an `InOrder`, until it is removed. */
export interface Place<T> {
  value: T | undefined;
  before: Place<T> | undefined;
  after: Place<T> | undefined;
}

/**
 * A first-in, first-out list whose members leave at any time: what is under way in a process.
 *
 * Not a Set, since members come and go all the time. A Set is then written to a new table for every
 * few members, and each table refers to its members and to the next table. Once V8's garbage
 * collector has moved one table to the old generation, it takes all later tables, and whatever was
 * ever in them, for alive until its next full collection: each young collection copies them.
 */
export class InOrder<T extends object> implements Iterable<T> {
  #first: Place<T> | undefined;
  #last: Place<T> | undefined;

  get first(): Place<T> | undefined {
    return this.#first;
  }

  add(value: T): Place<T> {
    const place: Place<T> = { value, before: this.#last, after: undefined };
    if (this.#last === undefined) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    return place;
  }

  /** Does nothing if it was removed already. */
  remove(place: Place<T>): void {
    const { before, after } = place;
    if (before === undefined && this.#first !== place) return;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    // a removed place must lead to nothing
    place.value = place.before = place.after = undefined;
  }

  /** Nobody may be removed while the members are visited. */
  *[Symbol.iterator](): Iterator<T> {
    for (let place = this.#first; place !== undefined; place = place.after) yield place.value as T;
  }
}
