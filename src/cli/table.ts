import { isUuid } from '../common/runtime/index.ts';
import type { CliContext } from './context.ts';
import { printable } from './output.ts';

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string;
  readonly align?: 'right';
  /**
   * If the terminal is too narrow, the columns with the highest number are left out first. A column
   * with 1, the default, is never left out.
   */
  readonly priority?: 1 | 2 | 3 | 4;
  /** A narrow terminal shows only the end of these values, since their beginning is a time. */
  readonly short?: 'serial' | 'id';
}

const shortLength = 12;
const narrowest = 8;
const gap = 2;

/**
 * A table for people. On a terminal it is made to fit the width, in these steps: the trust domain
 * that all SPIFFE IDs share is left out, serials are cut, columns are left out by priority, the
 * widest columns are cut. In a pipe or with --wide, nothing is left out.
 */
export function table<T>(
  context: CliContext,
  columns: readonly Column<T>[],
  rows: readonly T[],
  empty: string,
): void {
  if (rows.length === 0) {
    context.out(`${empty}\n`);
    return;
  }
  const whole: Grid<T> = {
    columns,
    cells: rows.map((row) => columns.map((column) => printable(column.value(row)))),
  };
  const { isTerminal, color, columns: width } = context.terminal;
  const grid = isTerminal ? fitted(whole, width) : whole;
  const [head, ...lines] = linesOf(grid);
  context.out(`${color ? `\u001b[1m${head}\u001b[0m` : head}\n`);
  for (const line of lines) context.out(`${line}\n`);
  if (grid !== whole) context.err('shortened to fit the terminal; --wide shows everything\n');
}

interface Grid<T> {
  readonly columns: readonly Column<T>[];
  readonly cells: readonly (readonly string[])[];
}

/** The grid itself if it fits. */
function fitted<T>(whole: Grid<T>, width: number): Grid<T> {
  let grid = whole;
  for (const step of [withoutTrustDomain, withShortIds])
    if (widthOf(grid) > width) grid = step(grid);
  while (widthOf(grid) > width) {
    const last = Math.max(...grid.columns.map(priorityOf));
    if (last === 1) break;
    // the last of these columns, since the most important columns come first
    grid = without(grid, grid.columns.map(priorityOf).lastIndexOf(last));
  }
  return widthOf(grid) > width ? cut(grid, width) : grid;
}

const priorityOf = (column: { readonly priority?: number }): number => column.priority ?? 1;

const widthsOf = <T>({ columns, cells }: Grid<T>): number[] =>
  columns.map(({ title }, index) =>
    cells.reduce((most, line) => Math.max(most, (line[index] ?? '').length), title.length),
  );

const sum = (widths: readonly number[]): number =>
  widths.reduce((total, width) => total + width, gap * (widths.length - 1));

const widthOf = <T>(grid: Grid<T>): number => sum(widthsOf(grid));

const without = <T>({ columns, cells }: Grid<T>, index: number): Grid<T> => ({
  columns: columns.toSpliced(index, 1),
  cells: cells.map((line) => line.toSpliced(index, 1)),
});

const spiffeId = /spiffe:\/\/([a-z0-9._-]+)(?=\/)/g;

/** IDs of two trust domains stay whole, since the trust domain tells them apart. */
function withoutTrustDomain<T>(grid: Grid<T>): Grid<T> {
  const names = new Set(
    grid.cells.flat().flatMap((cell) => [...cell.matchAll(spiffeId)].map(([, name]) => name)),
  );
  if (names.size !== 1) return grid;
  return {
    ...grid,
    cells: grid.cells.map((line) => line.map((cell) => cell.replace(spiffeId, ''))),
  };
}

const withShortIds = <T>(grid: Grid<T>): Grid<T> => ({
  ...grid,
  cells: grid.cells.map((line) =>
    line.map((cell, index) => {
      const kind = grid.columns[index]?.short;
      if (kind === undefined) return cell;
      // names stay whole
      return kind === 'serial' || isUuid(cell) ? cell.slice(-shortLength) : cell;
    }),
  ),
});

/**
 * Cuts the widest column repeatedly, until the table fits or all columns have their least width.
 */
function cut<T>(grid: Grid<T>, width: number): Grid<T> {
  const widths = widthsOf(grid);
  const least = grid.columns.map(({ title }) => Math.max(narrowest, title.length));
  while (sum(widths) > width) {
    const cuttable = widths.map((width, index) => (width > (least[index] as number) ? width : 0));
    const widest = Math.max(...cuttable);
    if (widest === 0) break;
    const index = cuttable.indexOf(widest);
    widths[index] = widest - 1;
  }
  return {
    ...grid,
    cells: grid.cells.map((line) =>
      line.map((cell, index) => shortened(cell, widths[index] as number)),
    ),
  };
}

/** Keeps the end of a path, and the beginning of other text. */
function shortened(text: string, width: number): string {
  if (text.length <= width) return text;
  return text.startsWith('/') || text.startsWith('spiffe://')
    ? `…${text.slice(1 - width)}`
    : `${text.slice(0, width - 1)}…`;
}

function linesOf<T>(grid: Grid<T>): string[] {
  const widths = widthsOf(grid);
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, index) =>
        grid.columns[index]?.align === 'right'
          ? text.padStart(widths[index] as number)
          : text.padEnd(widths[index] as number),
      )
      .join(' '.repeat(gap))
      .trimEnd();
  return [line(grid.columns.map(({ title }) => title)), ...grid.cells.map(line)];
}
