/** What a stream knew of its subscription when it ended. */
interface Ended {
  /** The set that the proxy applied, hex. Empty: none. */
  readonly applied: string;
  /** The streams that had applied a set under this name before: they tell nothing of this one. */
  readonly others: ReadonlySet<object>;
}

interface LeftBundle extends Ended {
  /** Unix seconds, inclusive. */
  readonly until: number;
}

/**
 * The subscriptions of one proxy to the own bundle whose streams have ended, by name. A proxy whose
 * stream ends keeps what it had, and comes back after some seconds. Owner of that state.
 *
 * A subscription counts with the set that it had applied, until a new stream proves that name, or
 * until the instant that its end gives.
 */
export class LeftBundles {
  readonly #left = new Map<string, LeftBundle>();
  /** Bounds all that ends without proof of this set, however often streams begin and end. */
  #deadline: { readonly own: string; readonly until: number } | undefined;

  ended(name: string, ended: Ended, limit: { readonly own: string; readonly until: number }): void {
    let { until } = limit;
    if (ended.applied !== limit.own) {
      if (this.#deadline?.own !== limit.own) this.#deadline = limit;
      ({ until } = this.#deadline);
    }
    const before = this.#left.get(name);
    this.#left.set(name, {
      applied: before === undefined || before.applied === ended.applied ? ended.applied : '',
      others: new Set([...(before?.others ?? []), ...ended.others]),
      until: Math.max(before?.until ?? 0, until),
    });
  }

  /** This stream proved the present set under this name. */
  proven(name: string, stream: object): void {
    if (this.#left.get(name)?.others.has(stream) === false) this.#left.delete(name);
  }

  /** The proxy has the present set in all subscriptions. */
  confirmed(): void {
    this.#deadline = undefined;
  }

  /** The sets that those applied which still count, hex. Forgets the others. */
  applied(now: number): readonly string[] {
    for (const [name, { until }] of this.#left) if (until < now) this.#left.delete(name);
    return [...this.#left.values()].map(({ applied }) => applied);
  }

  /** When each of them ends to count. */
  ends(): readonly number[] {
    return [...this.#left.values()].map(({ until }) => until);
  }
}
