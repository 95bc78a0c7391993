import {
  sameValue,
  type ForeignHand,
  type Row,
  type RowChange,
  type Table,
  type Value,
} from './hand.ts';

/** Columns that only people read, with the reason. Altering them grants and stops nothing. */
export const displayColumns: Readonly<Record<string, string>> = {
  'agents.state_reason': 'the state itself is digested',
  'agents.last_seen_at': 'changes with every sign of life',
  'agents.version': 'what the agent says of itself',
  'agents.survived_outage_seconds': 'what the agent says of itself',
  'certificates.state_reason': 'the state decides',
  'consumers.description': 'what the agent says of its consumer',
  'consumers.reason': 'what the agent says of its consumer',
  'migrations.applied_at': 'when a step ran',
  'rotations.updated_at': 'the version orders the changes',
};

/** Tables that stay empty in this world, with the reason. Any other empty table is a breach. */
export const emptyTables: Readonly<Record<string, string>> = {
  log_excluded: 'no record is put in past the server before the alterations begin',
  log_snapshots: 'a snapshot is made after many more records',
  log_snapshot_parts: 'a snapshot is made after many more records',
  ocsp_answers: 'no leaf here names a responder, and an answer is given if its signature holds',
};

export interface Alteration {
  /** Table, column and kind, for the report. */
  readonly name: string;
  readonly table: Table;
  /** Undefined: several columns, or whole rows. */
  readonly column: string | undefined;
  /** Every altered column is a display column. */
  readonly display: boolean;
  readonly changes: readonly RowChange[];
}

/** The rows of each table, by its name. */
export type Snapshot = ReadonlyMap<string, readonly Row[]>;

export const snapshotOf = (hand: ForeignHand): Snapshot =>
  new Map(hand.tables().map((table) => [table.name, hand.rows(table)]));

const isDisplay = (table: Table, column: string): boolean =>
  displayColumns[`${table.name}.${column}`] !== undefined;

/** The same row in an earlier snapshot. */
const earlierRow = (table: Table, row: Row, snapshot: Snapshot): Row | undefined =>
  snapshot
    .get(table.name)
    ?.find((other) => table.key.every((name) => sameValue(row[name], other[name])));

/** How a value of a row is altered; undefined: this kind has no other value for it. */
type Kind = (
  row: Row,
  column: string,
  of: { readonly table: Table; readonly rows: readonly Row[]; readonly at: number },
) => Value | undefined;

const constants: readonly (readonly [name: string, of: Exclude<Value, null>])[] = [
  ['zero', 0],
  ['one', 1],
  ['far', 4_000_000_000],
  ['empty', ''],
];

/** All kinds of alterations of one column, in the order in which the short form takes the first. */
function kinds(steps: readonly Snapshot[]): readonly (readonly [name: string, kind: Kind])[] {
  const earlier = steps.map((snapshot, step): readonly [string, Kind] => [
    `as after step ${step + 1}`,
    (row, column, { table }) => earlierRow(table, row, snapshot)?.[column],
  ]);
  const neighbours = [1, -1].map((by): readonly [string, Kind] => [
    by === 1 ? 'of the next row' : 'of the row before',
    (_row, column, { rows, at }) => rows[(at + by + rows.length) % rows.length]?.[column],
  ]);
  return [
    ...neighbours,
    ...earlier,
    ['NULL', () => null],
    ...constants.map(([name, value]): readonly [string, Kind] => [
      name,
      (row, column) => (typeof row[column] === typeof value ? value : undefined),
    ]),
    [
      'one byte',
      (row, column) => {
        const value = row[column];
        if (!(value instanceof Uint8Array) || value.length === 0) return undefined;
        const other = Uint8Array.from(value);
        other[0] = (other[0] ?? 0) ^ 1;
        return other;
      },
    ],
    ['longer', (row, column) => (typeof row[column] === 'string' ? `${row[column]}x` : undefined)],
    ['more', (row, column) => (typeof row[column] === 'number' ? row[column] + 1 : undefined)],
  ];
}

/** Each alteration of one column, with all rows at once. */
export function* ofColumn(
  hand: ForeignHand,
  { table, column, steps }: { table: Table; column: string; steps: readonly Snapshot[] },
): Generator<Alteration> {
  const rows = hand.rows(table);
  for (const [kind, valueOf] of kinds(steps)) {
    const changes = rows.flatMap((row, at): readonly RowChange[] => {
      const value = valueOf(row, column, { table, rows, at });
      if (value === undefined || sameValue(value, row[column])) return [];
      return [{ table, before: row, after: { ...row, [column]: value } }];
    });
    if (changes.length > 0)
      yield {
        name: `${table.name}.${column} ${kind}`,
        table,
        column,
        display: isDisplay(table, column),
        changes,
      };
  }
}

/** Rows as after each earlier step, rows that are gone, rows that are there twice. */
function* ofRows(
  table: Table,
  rows: readonly Row[],
  steps: readonly Snapshot[],
): Generator<Alteration> {
  const alteration = (name: string, changes: readonly RowChange[]): Alteration => ({
    name: `${table.name} ${name}`,
    table,
    column: undefined,
    display: false,
    changes,
  });
  const display = table.columns.filter((column) => isDisplay(table, column));
  if (display.length > 0)
    yield {
      ...alteration(
        'all display columns',
        rows.map((row) => ({
          table,
          before: row,
          after: {
            ...row,
            ...Object.fromEntries(
              display.map((name) => [name, typeof row[name] === 'number' ? 1 : 'altered']),
            ),
          },
        })),
      ),
      display: true,
    };
  for (const [step, snapshot] of steps.entries())
    yield alteration(
      `as after step ${step + 1}`,
      rows.map((row) => ({ table, before: row, after: earlierRow(table, row, snapshot) })),
    );
  yield alteration(
    'without rows',
    rows.map((row) => ({ table, before: row, after: undefined })),
  );
  for (const [at, row] of rows.slice(0, 20).entries())
    yield alteration(`without row ${at}`, [{ table, before: row, after: undefined }]);
  yield alteration(
    'rows twice',
    rows.map((row) => ({ table, before: undefined, after: doubled(table, row) })),
  );
}

/** The row under another key. */
const doubled = (table: Table, row: Row): Row => {
  const last = table.key.at(-1) as string;
  const value = row[last];
  let other: Value = `${String(value)}-2`;
  if (typeof value === 'number') other = value + 1_000_000;
  if (value instanceof Uint8Array) other = Uint8Array.from([...value.slice(0, -1), 0x5a]);
  return { ...row, [last]: other };
};

/** Of so many rows of a table each is altered alone. */
const rowsAlone = 12;

/** One row alone, so that the others stay what they were: each column, by the kinds that lie near. */
function* ofOneRow(
  table: Table,
  rows: readonly Row[],
  steps: readonly Snapshot[],
): Generator<Alteration> {
  const nearby = kinds(steps).filter(([kind]) => /row|step|NULL/.test(kind));
  for (const [at, row] of rows.slice(-rowsAlone).entries())
    for (const column of table.columns) {
      const tried: Value[] = [row[column] as Value];
      for (const [kind, valueOf] of nearby) {
        const value = valueOf(row, column, { table, rows, at: rows.indexOf(row) });
        if (value === undefined || tried.some((other) => sameValue(value, other))) continue;
        tried.push(value);
        yield {
          name: `${table.name}.${column} ${kind}, row ${at} alone`,
          table,
          column,
          display: isDisplay(table, column),
          changes: [{ table, before: row, after: { ...row, [column]: value } }],
        };
      }
    }
}

/** What a value looks like: values of one form could stand for each other. */
function formOf(value: Value | undefined): string | undefined {
  if (value instanceof Uint8Array) return `bytes ${value.length}`;
  if (typeof value === 'string') {
    if (value.startsWith('spiffe://')) return 'SPIFFE ID';
    return /^[0-9a-f-]{16,}$/.test(value) ? `hex ${value.length}` : undefined;
  }
  // instants; small numbers have the constants
  return typeof value === 'number' && value > 1e9
    ? `number ${Math.floor(Math.log10(value))}`
    : undefined;
}

/** Each column with a value of a column that it refers to, or that has the same name or form. */
function* ofOtherTables(
  table: Table,
  rows: readonly Row[],
  hand: ForeignHand,
): Generator<Alteration> {
  const others = hand
    .tables()
    .filter(({ name }) => name !== table.name)
    .map((other) => ({ other, otherRows: hand.rows(other) }));
  for (const column of table.columns) {
    const form = formOf(rows[0]?.[column]);
    for (const { other, otherRows } of others)
      for (const otherColumn of other.columns) {
        const related =
          column === otherColumn ||
          table.references.some(
            (each) =>
              each.column === column &&
              each.otherTable === other.name &&
              each.otherColumn === otherColumn,
          ) ||
          (form !== undefined && formOf(otherRows.at(-1)?.[otherColumn]) === form);
        if (!related || otherRows.length === 0) continue;
        const changes = rows.flatMap((row, at): readonly RowChange[] => {
          const value = otherRows.at(at % otherRows.length)?.[otherColumn];
          return value === undefined || sameValue(value, row[column])
            ? []
            : [{ table, before: row, after: { ...row, [column]: value } }];
        });
        if (changes.length > 0)
          yield {
            name: `${table.name}.${column} from ${other.name}.${otherColumn}`,
            table,
            column,
            display: isDisplay(table, column),
            changes,
          };
      }
  }
}

/**
 * All columns of a row together of which nothing was announced when each was altered alone: the log
 * does not commit to them, so that a row can have any values in them. One row, then all rows.
 */
export function* ofSilentColumns(
  hand: ForeignHand,
  {
    table,
    columns,
    steps,
  }: { table: Table; columns: readonly string[]; steps: readonly Snapshot[] },
): Generator<Alteration> {
  const rows = hand.rows(table);
  for (const [kind, valueOf] of kinds(steps)) {
    const changes = rows.flatMap((row, at): readonly RowChange[] => {
      const values = columns.flatMap((column): readonly [string, Value][] => {
        const value = valueOf(row, column, { table, rows, at });
        return value === undefined ? [] : [[column, value]];
      });
      return values.some(([column, value]) => !sameValue(value, row[column]))
        ? [{ table, before: row, after: { ...row, ...Object.fromEntries(values) } }]
        : [];
    });
    const name = `${table.name} all undigested columns ${kind}`;
    const one = { table, column: undefined, display: false };
    if (changes.length > 0) yield { ...one, name, changes };
    for (const [at, change] of changes.slice(-rowsAlone).entries())
      yield { ...one, name: `${name}, row ${at} alone`, changes: [change] };
  }
}

/** Every alteration of a table. */
export function* alterationsOf(
  hand: ForeignHand,
  table: Table,
  steps: readonly Snapshot[],
): Generator<Alteration> {
  const rows = hand.rows(table);
  for (const column of table.columns) yield* ofColumn(hand, { table, column, steps });
  yield* ofRows(table, rows, steps);
  yield* ofOneRow(table, rows, steps);
  yield* ofOtherTables(table, rows, hand);
}
