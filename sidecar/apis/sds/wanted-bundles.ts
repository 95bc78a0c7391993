/** What a proxy has under one name of one stream. */
interface WantedBundle {
  readonly sent: Buffer | undefined;
  /** Hex. Empty: none. */
  readonly applied: string;
  readonly refused: string | undefined;
}

/** Counts values. */
class Tally {
  readonly #counts = new Map<string, number>();

  change(value: string, by: 1 | -1): void {
    const count = (this.#counts.get(value) ?? 0) + by;
    if (count === 0) this.#counts.delete(value);
    else this.#counts.set(value, count);
  }

  values(): readonly string[] {
    return [...this.#counts.keys()];
  }
}

/**
 * The subscriptions of one proxy to the own bundle, over all its streams. Owner of that state. A
 * proxy may have very many streams, and each message on each of them asks about all: so the answers
 * are kept by count.
 */
export class WantedBundles {
  readonly #streams = new Map<object, Map<string, WantedBundle>>();
  readonly #sent = new Tally();
  readonly #applied = new Tally();
  readonly #refused = new Set<WantedBundle>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The sets that they were sent last, hex. */
  sent(): readonly string[] {
    return this.#sent.values();
  }

  /** The sets that they applied last, hex. Empty: one has applied none. */
  applied(): readonly string[] {
    return this.#applied.values();
  }

  /** Why one of them was refused. Undefined: none was. */
  refusal(): string | undefined {
    for (const { refused } of this.#refused) return refused;
    return undefined;
  }

  has(stream: object, name: string): boolean {
    return this.#streams.get(stream)?.has(name) === true;
  }

  /** The stream wants the bundle under these names, and under no others. */
  wants(stream: object, names: ReadonlySet<string>): void {
    const known = this.#streams.get(stream) ?? new Map<string, WantedBundle>();
    this.#streams.set(stream, known);
    for (const name of known.keys()) if (!names.has(name)) this.#put(known, name, undefined);
    for (const name of names)
      if (!known.has(name))
        this.#put(known, name, { sent: undefined, applied: '', refused: undefined });
  }

  /** A name that is no longer wanted is passed over. */
  change(stream: object, name: string, to: Partial<WantedBundle>): void {
    const known = this.#streams.get(stream);
    const before = known?.get(name);
    if (known !== undefined && before !== undefined) this.#put(known, name, { ...before, ...to });
  }

  /** What the stream had applied, by name. It counts no longer. */
  leave(stream: object): ReadonlyMap<string, string> {
    const known = this.#streams.get(stream) ?? new Map<string, WantedBundle>();
    const applied = new Map([...known].map(([name, bundle]) => [name, bundle.applied]));
    for (const name of known.keys()) this.#put(known, name, undefined);
    this.#streams.delete(stream);
    return applied;
  }

  /** The streams that have applied a set under this name. */
  appliedBy(name: string): readonly object[] {
    return [...this.#streams].flatMap(([stream, known]) =>
      (known.get(name)?.applied ?? '') === '' ? [] : [stream],
    );
  }

  #put(known: Map<string, WantedBundle>, name: string, next: WantedBundle | undefined): void {
    const before = known.get(name);
    if (before !== undefined) this.#count(before, -1);
    if (next === undefined) known.delete(name);
    else {
      known.set(name, next);
      this.#count(next, 1);
    }
  }

  #count(bundle: WantedBundle, by: 1 | -1): void {
    const { sent, applied, refused } = bundle;
    this.#size += by;
    if (sent !== undefined) this.#sent.change(sent.toString('hex'), by);
    this.#applied.change(applied, by);
    if (by === -1) this.#refused.delete(bundle);
    else if (refused !== undefined) this.#refused.add(bundle);
  }
}
