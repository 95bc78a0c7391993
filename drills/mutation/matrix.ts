import { setTimeout as sleep } from 'node:timers/promises';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Breaches, DrillContext } from '../drill.ts';
import { alterationsOf, emptyTables, ofSilentColumns, type Alteration } from './alterations.ts';
import type { RowChange, Table } from './hand.ts';
import { isRefused, playAll, type Outcomes } from './plays.ts';
import type { MutationWorld } from './world.ts';

/** Only an alteration that nothing announces waits so long. */
const alertPatienceMs = 10_000;

const opposite = ({ table, before, after }: RowChange): RowChange => ({
  table,
  before: after,
  after: before,
});
/** The log itself: whatever is done to it may stop the server for good. */
const isLog = ({ name }: Table): boolean => name === 'audit' || name.startsWith('log_');

/** Alters the database of a world, and compares what is granted then with what was granted before. */
export class MutationMatrix {
  readonly #world: MutationWorld;
  readonly #context: DrillContext;
  readonly #breaches: Breaches;
  #baseline: Outcomes = new Map();
  /** What the plays announce on an unaltered database. */
  #usual: ReadonlySet<string> = new Set();
  readonly figures = {
    tables: 0,
    columns: 0,
    plays: 0,
    running: 0,
    stopped: 0,
    refusedStarts: 0,
    stoppedGrants: 0,
  };

  constructor(world: MutationWorld, context: DrillContext, breaches: Breaches) {
    this.#world = world;
    this.#context = context;
    this.#breaches = breaches;
  }

  async begin(): Promise<void> {
    const { hand } = this.#world;
    this.#world.alerts.length = 0;
    this.#baseline = await this.#play();
    this.#usual = new Set(this.#world.alerts);
    const tables = hand.tables();
    this.figures.tables = tables.length;
    this.figures.plays = this.#baseline.size;
    for (const table of tables) {
      this.figures.columns += table.columns.length;
      if (hand.rows(table).length === 0 && emptyTables[table.name] === undefined)
        this.#breaches.add(`the table ${table.name} is empty: nothing of it is tested`);
    }
  }

  get baseline(): Outcomes {
    return this.#baseline;
  }

  /** Each table while the server runs; in the short form each column once. */
  async running(): Promise<void> {
    const { hand, steps } = this.#world;
    const tables = this.#tables();
    for (const table of [...tables.filter((each) => !isLog(each)), ...tables.filter(isLog)]) {
      const seen = new Set<string>();
      const loud = new Set<string>();
      for (const alteration of alterationsOf(hand, table, steps)) {
        this.#context.signal.throwIfAborted();
        const column = alteration.name.split(' ')[0] as string;
        if (this.#context.short && (seen.has(column) || alteration.name.includes('step'))) continue;
        const effect = await this.#alterRunning(alteration);
        if (effect !== 'refused by the schema') seen.add(column);
        if (effect === 'noticed' && alteration.column !== undefined) loud.add(alteration.column);
      }
      const columns = table.columns.filter(
        (column) => !loud.has(column) && !table.key.includes(column),
      );
      if (!this.#context.short)
        for (const alteration of ofSilentColumns(hand, { table, columns, steps })) {
          this.#context.signal.throwIfAborted();
          await this.#alterRunning(alteration);
        }
      await this.#requireBaseline(table.name);
      this.#context.say(`${table.name}: ${this.figures.running} alterations so far`);
    }
  }

  /** Each table while the server is stopped. The short form alters one column of each at once. */
  async stopped(): Promise<void> {
    const { hand, steps } = this.#world;
    await this.#world.server.stop();
    await this.#world.putBack();
    const tables = this.#tables();
    const all = tables.map((table) => [...alterationsOf(hand, table, steps)]);
    const groups = this.#context.short
      ? [tables.flatMap((table, at) => firstOf(table, all[at] ?? []))]
      : all.flat().map((alteration) => [alteration]);
    for (const group of groups) {
      this.#context.signal.throwIfAborted();
      await this.#alterStopped(group);
    }
    await this.#files();
    await this.#world.server.restart();
  }

  async #alterRunning(
    alteration: Alteration,
  ): Promise<'refused by the schema' | 'unnoticed' | 'noticed'> {
    const { hand, alerts } = this.#world;
    alerts.length = 0;
    const made = hand.change(alteration.changes);
    if (made.length === 0) return 'refused by the schema';
    this.figures.running += 1;
    const outcomes = await this.#play();
    await this.#judge(`running, ${alteration.name}`, alteration.display, outcomes);
    const noticed = this.#announced || !isSame(this.#baseline, outcomes);
    hand.change(made.map(opposite).reverse());
    // the short form looks once a table whether all is as before
    if (!this.#context.short) await this.#requireBaseline(alteration.name);
    return noticed ? 'noticed' : 'unnoticed';
  }

  /** Whether something was announced that an unaltered database does not bring about. */
  get #announced(): boolean {
    return this.#world.alerts.some((alert) => !this.#usual.has(alert));
  }

  /** A server that has seen a false log, or a changed past, needs its database as it was. */
  async #requireBaseline(name: string): Promise<void> {
    if (isSame(this.#baseline, await this.#play())) return;
    await this.#world.reset();
    const again = await this.#play();
    if (!isSame(again, this.#baseline))
      throw new Error(
        `after ${name} the database was put back, and ${differences(this.#baseline, again)}`,
      );
  }

  async #alterStopped(group: readonly Alteration[]): Promise<void> {
    const made = this.#world.hand.change(group.flatMap(({ changes }) => changes));
    const names = group.map((each) => each.name).join(', ');
    if (made.length > 0)
      await this.#start(
        `stopped, ${names.slice(0, 200)}`,
        group.every(({ display }) => display),
      );
    await this.#world.putBack();
  }

  /** Starts on an altered database, plays, and stops. A start that is refused has a code. */
  async #start(name: string, display: boolean): Promise<void> {
    const { alerts, server } = this.#world;
    alerts.length = 0;
    this.figures.stopped += 1;
    try {
      await server.restart();
      await this.#judge(name, display, await this.#play());
    } catch (thrown) {
      this.figures.refusedStarts += 1;
      const { code, message } = PkiError.from(thrown);
      if (code === 'INTERNAL') this.#break(`${name}: the start failed without a code: ${message}`);
    }
    await server.stop();
  }

  /** The whole file as after an earlier step; in the short form as after the last one. */
  async #files(): Promise<void> {
    const { files } = this.#world;
    if (this.#context.options['tables'] !== undefined) return;
    for (const file of this.#context.short ? files.slice(-1) : files) {
      this.#context.signal.throwIfAborted();
      await this.#world.putFile(file);
      await this.#start(`stopped, the file as after step ${files.indexOf(file) + 1}`, false);
      await this.#world.putBack();
    }
  }

  #tables(): readonly Table[] {
    const only = this.#context.options['tables']?.split(',');
    return this.#world.hand.tables().filter(({ name }) => only?.includes(name) !== false);
  }

  #break(text: string): void {
    this.#breaches.add(text);
    this.#context.say(`✗ ${text}`);
  }

  #play(): Promise<Outcomes> {
    return playAll(this.#world.server, this.#world.victims, this.#context);
  }

  async #judge(name: string, display: boolean, outcomes: Outcomes): Promise<void> {
    let stopped = '';
    for (const [play, outcome] of outcomes) {
      const before = this.#baseline.get(play);
      if (outcome === before) continue;
      if (!isRefused(outcome)) this.#break(`${name}: ${play}: ${outcome}, before: ${before}`);
      else if (display) this.#break(`${name}: ${play}: ${outcome}, for a display column`);
      else if (!isRefused(before)) stopped = `${play}: ${outcome}`;
    }
    if (stopped === '') return;
    this.figures.stoppedGrants += 1;
    const endMs = performance.now() + alertPatienceMs;
    while (!this.#announced && performance.now() < endMs) await sleep(20);
    if (!this.#announced) this.#break(`${name}: ${stopped}, and nothing was announced`);
  }
}

/**
 * The first alteration of a column beside the key. None for a table on which the start itself rests:
 * altered together with others it would hide them.
 */
const firstOf = (table: Table, alterations: readonly Alteration[]): readonly Alteration[] =>
  isLog(table) || ['authorities', 'bundles', 'meta', 'migrations'].includes(table.name)
    ? []
    : alterations
        .filter(
          ({ name }) => !table.key.some((column) => name.startsWith(`${table.name}.${column} `)),
        )
        .slice(0, 1);

const isSame = (one: Outcomes, other: Outcomes): boolean => differences(one, other) === '';

const differences = (one: Outcomes, other: Outcomes): string =>
  [...one]
    .filter(([name, outcome]) => (other.get(name) ?? outcome) !== outcome)
    .map(([name, outcome]) => `${name}: ${other.get(name)}, not ${outcome}`)
    .join('; ');
