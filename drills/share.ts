import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { DrillContext } from './drill.ts';

export const shareOptions: readonly string[] = [
  '--part I/N        of the long form the I-th of N parts; together they are the whole',
  '--minutes N       ends after so long, with a random sample of what there is to play',
  '--seed TEXT       the order of the sample',
  '--record FILE     goes on behind what the file names, and adds what was played',
];

const wholeNumber = (text: string | undefined): number =>
  /^[1-9][0-9]{0,5}$/.test(text ?? '') ? Number(text) : Number.NaN;

/**
 * What one run plays of a long list of cases, so that a person can play it in parts. Each case has a
 * name that is the same in every run: its part and its place in the order follow from that. Only a
 * case that kept the promise is in the record, so that a broken one is played again.
 */
export class Share {
  readonly seed: string;
  readonly #part: number;
  readonly #parts: number;
  readonly #minutes: number | undefined;
  readonly #path: string | undefined;
  readonly #recorded: ReadonlySet<string>;
  readonly #begunMs = performance.now();
  readonly #counts = new Map<string, { played: number; of: number; before: number }>();

  constructor({ options }: Pick<DrillContext, 'options'>) {
    const { part = '1/1', minutes, seed, record } = options;
    const [at, of] = part.split('/').map(wholeNumber) as [number, number | undefined];
    if (!(at <= (of ?? Number.NaN))) throw new Error(`--part ${part}: it is I/N, with I up to N`);
    this.#part = at;
    this.#parts = of ?? 1;
    this.#minutes = minutes === undefined ? undefined : wholeNumber(minutes);
    if (Number.isNaN(this.#minutes)) throw new Error(`--minutes ${minutes}: it is a whole number`);
    this.seed = seed ?? randomBytes(4).toString('hex');
    this.#path = record;
    this.#recorded = new Set(
      record !== undefined && existsSync(record) ? readFileSync(record, 'utf8').split('\n') : [],
    );
  }

  /**
   * The cases of this part that no earlier run has recorded, in the order of the seed.
   *
   * @param phase a part of the drill, for the record and the figures
   */
  of<T extends { readonly name: string }>(phase: string, cases: Iterable<T>): readonly T[] {
    const mine = [...cases].filter(({ name }) => numberOf(name) % this.#parts === this.#part - 1);
    const open = mine.filter(({ name }) => !this.#recorded.has(`${phase}: ${name}`));
    this.#counts.set(phase, { played: 0, of: mine.length, before: mine.length - open.length });
    return open
      .map((item) => ({ item, place: numberOf(`${this.seed} ${item.name}`) }))
      .sort((one, other) => one.place - other.place)
      .map(({ item }) => item);
  }

  /** Whether this share of the time is over. */
  isOver(share = 1): boolean {
    return (
      this.#minutes !== undefined &&
      performance.now() - this.#begunMs > this.#minutes * 60_000 * share
    );
  }

  played(phase: string, name: string, kept: boolean): void {
    const count = this.#counts.get(phase);
    if (count !== undefined) count.played += 1;
    if (this.#path !== undefined && kept) appendFileSync(this.#path, `${phase}: ${name}\n`);
  }

  /** How far a phase is. */
  progress(phase: string): string {
    const { played = 0, of = 0, before = 0 } = this.#counts.get(phase) ?? {};
    return `${phase}: ${before + played} of ${of}`;
  }

  /** Of each phase: what this run has played, what earlier ones have, and of how many. */
  figures(): Readonly<Record<string, unknown>> {
    return {
      part: `${this.#part}/${this.#parts}`,
      seed: this.seed,
      share: Object.fromEntries(this.#counts),
    };
  }
}

const numberOf = (text: string): number =>
  createHash('sha256').update(text).digest().readUInt32BE(0);
