/** What every drill gets. A drill prints progress with `say`, and nothing else. */
export interface DrillContext {
  /** Few rounds, for the tests; a person runs the long one. */
  readonly short: boolean;
  /** Further options of the command line: `--name value`, or `--name` as `true`. */
  readonly options: Readonly<Record<string, string>>;
  readonly say: (text: string) => void;
  /** Its abort ends the drill, which then stops everything that it started. */
  readonly signal: AbortSignal;
}

export interface DrillReport {
  /** The figures, as printed with --json. */
  readonly figures: Readonly<Record<string, unknown>>;
  /** Each breach of the promise, in words. Empty if the promise was kept. */
  readonly broken: readonly string[];
}

export interface Drill {
  readonly name: string;
  /** One line for `list`. */
  readonly promise: string;
  readonly options: readonly string[];
  run(context: DrillContext): Promise<DrillReport>;
}

/** Collects breaches. Equal texts are kept once with a count, so that a flood stays readable. */
export class Breaches {
  readonly #seen = new Map<string, number>();

  add(text: string): void {
    this.#seen.set(text, (this.#seen.get(text) ?? 0) + 1);
  }

  expect(holds: boolean, text: string): void {
    if (!holds) this.add(text);
  }

  get list(): readonly string[] {
    return [...this.#seen].map(([text, count]) =>
      count === 1 ? text : `${text} (${count} times)`,
    );
  }
}

export const round = (value: number, digits = 2): number => Number(value.toFixed(digits));
