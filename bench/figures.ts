/** The result of one measurement: a ratio or a value with its goal, and the numbers behind it. */
export interface Figure {
  readonly name: string;
  readonly what: string;
  /** The figure, in `unit`, or as a ratio of two things measured in the same run. */
  readonly ratio: number;
  readonly unit?: string;
  readonly goal?: number;
  /** Whether the goal is a lower bound. Otherwise it is an upper bound. */
  readonly atLeast?: boolean;
  readonly detail: Readonly<Record<string, number>>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export const meets = ({ ratio, goal, atLeast }: Figure): boolean | undefined =>
  goal === undefined ? undefined : atLeast === true ? ratio >= goal : ratio <= goal;

export const round = (value: number): number =>
  Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));

/** A table for people. */
export function table(figures: readonly Figure[]): string {
  const lines = figures.flatMap((figure) => {
    const { name, what, ratio, unit, goal, atLeast, detail } = figure;
    const verdict =
      goal === undefined
        ? ''
        : `   goal ${atLeast === true ? '≥' : '≤'} ` +
          `${goal}${unit === undefined ? '' : ` ${unit}`}: ` +
          `${meets(figure) === true ? 'met' : 'missed'}`;
    return [
      `${name.padEnd(34)} ${String(round(ratio)).padStart(8)} ${(unit ?? '×').padEnd(4)}${verdict}`,
      `    ${what}`,
      `    ${Object.entries(detail)
        .map(([key, value]) => `${key} ${round(value)}`)
        .join(' · ')}`,
    ];
  });
  return `${lines.join('\n')}\n`;
}
