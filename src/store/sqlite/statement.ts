import {
  DummyDriver,
  Kysely,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
  type Compilable,
  type RawBuilder,
} from 'kysely';
import type { SQLInputValue } from 'node:sqlite';
import type { Schema } from '../schema.ts';

/** Builds SQL only: its driver is a dummy, and the engine runs the compiled text. */
export type Builder = Kysely<Schema>;
const builderWith = (createQueryCompiler: () => SqliteQueryCompiler): Builder =>
  new Kysely<Schema>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (database) => new SqliteIntrospector(database),
      createQueryCompiler,
    },
  });
export const builder: Builder = builderWith(() => new SqliteQueryCompiler());

/** A placeholder in a compiled query. Each run supplies its value. */
class Slot {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/**
 * For statements that are kept: constants of the code (a state, a limit) become part of the text,
 * and only slots stay parameters. If the planner has looked at a parameter (in LIMIT, or for the
 * condition of a partial index), SQLite prepares the statement again whenever it is bound. That
 * costs several times the statement itself.
 */
class StatementCompiler extends SqliteQueryCompiler {
  protected override appendValue(value: unknown): void {
    if (value instanceof Slot) super.appendValue(value);
    else this.appendImmediateValue(value);
  }
}
const statementBuilder = builderWith(() => new StatementCompiler());

export type Slots<Values> = <Name extends keyof Values & string>(
  name: Name,
) => RawBuilder<Values[Name]>;

/** A query that is built and compiled once, at its first use, and kept prepared. */
export interface Statement<Values, Row> {
  all(values: Values): readonly Row[];
  get(values: Values): Row | undefined;
  /** Returns the number of changed rows. Only inside a transaction. */
  run(values: Values): number;
}

export type Values = Readonly<Record<string, SQLInputValue>>;

/** Runs statements: the engine. */
export interface StatementRunner {
  all(sql: string, parameters: readonly SQLInputValue[]): readonly unknown[];
  get(sql: string, parameters: readonly SQLInputValue[]): unknown;
  run(sql: string, parameters: readonly SQLInputValue[]): number;
}

export class CompiledStatement<V extends Values, Row> implements Statement<V, Row> {
  readonly #runner: StatementRunner;
  readonly #build: (query: Builder, slot: Slots<V>) => Compilable<Row>;
  #compiled: { readonly sql: string; readonly parameters: readonly unknown[] } | undefined;

  constructor(runner: StatementRunner, build: (query: Builder, slot: Slots<V>) => Compilable<Row>) {
    this.#runner = runner;
    this.#build = build;
  }

  all(values: V): readonly Row[] {
    const { sql: text, parameters } = this.#prepare();
    return this.#runner.all(text, bind(parameters, values)) as readonly Row[];
  }

  get(values: V): Row | undefined {
    const { sql: text, parameters } = this.#prepare();
    return this.#runner.get(text, bind(parameters, values)) as Row | undefined;
  }

  run(values: V): number {
    const { sql: text, parameters } = this.#prepare();
    return this.#runner.run(text, bind(parameters, values));
  }

  #prepare(): { readonly sql: string; readonly parameters: readonly unknown[] } {
    this.#compiled ??= this.#build(statementBuilder, (name) => sql`${new Slot(name)}`).compile();
    return this.#compiled;
  }
}

function bind(parameters: readonly unknown[], values: Values): SQLInputValue[] {
  const bound: SQLInputValue[] = [];
  for (const parameter of parameters) {
    bound.push(
      parameter instanceof Slot
        ? (values[parameter.name] as SQLInputValue)
        : (parameter as SQLInputValue),
    );
  }
  return bound;
}
