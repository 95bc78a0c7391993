import { setTimeout as sleep } from 'node:timers/promises';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Breaches, DrillContext } from '../drill.ts';
import { Share } from '../share.ts';
import { alterationsOf, emptyTables, ofColumn, ofSilentColumns } from './alterations.ts';
import type { Alteration } from './alterations.ts';
import type { RowChange, Table } from './hand.ts';
import { authoritiesPlay, isRefused, Player, type Outcomes } from './plays.ts';
import type { MutationWorld } from './world.ts';

/** Only an alteration that nothing announces waits so long. */
const alertPatienceMs = 10_000;
/** So many alterations of a column are tried for one that is noticed. */
const probes = 4;
const sayEvery = 100;

const opposite = ({ table, before, after }: RowChange): RowChange => ({
  table,
  before: after,
  after: before,
});
/** The log itself: whatever is done to it may stop the server for good. */
const isLog = ({ name }: Table): boolean => name === 'audit' || name.startsWith('log_');

/** Operators read these at the local socket. */
const shownPlays: ReadonlySet<string> = new Set([
  'roots and JWT keys',
  authoritiesPlay,
  'evidence',
]);

type Effect = 'refused by the schema' | 'unnoticed' | 'noticed';

/** Alters the database of a world, and compares what is granted then with what was granted before. */
export class MutationMatrix {
  readonly #world: MutationWorld;
  readonly #context: DrillContext;
  readonly #breaches: Breaches;
  readonly #share: Share;
  readonly #player: Player;
  #baseline: Outcomes = new Map();
  /** What the plays announce on an unaltered database. */
  #usual: ReadonlySet<string> = new Set();
  readonly #counts = {
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
    this.#share = new Share(context);
    this.#player = new Player(world, context);
  }

  get figures(): Readonly<Record<string, unknown>> {
    return {
      ...this.#counts,
      limited: Object.fromEntries(this.#player.limited),
      ...(this.#context.short ? {} : this.#share.figures()),
    };
  }

  async begin(): Promise<void> {
    const { hand, alerts } = this.#world;
    alerts.length = 0;
    this.#baseline = await this.#player.play();
    this.#usual = new Set(alerts);
    const tables = hand.tables();
    this.#counts.tables = tables.length;
    this.#counts.plays = this.#baseline.size;
    for (const table of tables) {
      this.#counts.columns += table.columns.length;
      if (hand.rows(table).length === 0 && emptyTables[table.name] === undefined)
        this.#breaches.add(`the table ${table.name} is empty: nothing of it is tested`);
    }
  }

  get baseline(): Outcomes {
    return this.#baseline;
  }

  /**
   * Each column once while the server runs. The long form goes on with every alteration.
   *
   * @param share of the time that this run has
   */
  async running(share: number): Promise<void> {
    const tables = this.#tables();
    const cases: Alteration[] = [];
    for (const table of [...tables.filter((each) => !isLog(each)), ...tables.filter(isLog)]) {
      const silent = await this.#each(table);
      await this.#requireBaseline(table.name);
      this.#context.say(`${table.name}: ${this.#counts.running} alterations so far`);
      if (this.#context.short) continue;
      const { hand, steps } = this.#world;
      cases.push(...alterationsOf(hand, table, steps));
      cases.push(...ofSilentColumns(hand, { table, columns: silent, steps }));
    }
    for (const [at, alteration] of this.#share.of('running', cases).entries()) {
      this.#context.signal.throwIfAborted();
      if (this.#share.isOver(share)) return;
      const broken = this.#breaches.list.length;
      await this.#alterRunning(alteration);
      this.#share.played('running', alteration.name, broken === this.#breaches.list.length);
      if (at % sayEvery === 0) this.#context.say(this.#share.progress('running'));
    }
  }

  /** Each table while the server is stopped. The short form alters one column of each at once. */
  async stopped(): Promise<void> {
    const { hand, steps } = this.#world;
    await this.#world.server.stop();
    await this.#world.putBack();
    const tables = this.#tables();
    if (this.#context.short)
      await this.#alterStopped(tables.flatMap((table) => this.#first(table)));
    else {
      const all = tables.flatMap((table) => [...alterationsOf(hand, table, steps)]);
      for (const [at, alteration] of this.#share.of('stopped', all).entries()) {
        this.#context.signal.throwIfAborted();
        if (this.#share.isOver()) break;
        const broken = this.#breaches.list.length;
        await this.#alterStopped([alteration]);
        this.#share.played('stopped', alteration.name, broken === this.#breaches.list.length);
        if (at % sayEvery === 0) this.#context.say(this.#share.progress('stopped'));
      }
    }
    await this.#files();
    await this.#world.server.restart();
  }

  /**
   * Alters each column once; the long form goes on until an alteration is noticed. Returns the columns of which none
   * was.
   */
  async #each(table: Table): Promise<readonly string[]> {
    const { hand, steps } = this.#world;
    const silent: string[] = [];
    for (const column of table.columns) {
      let [tried, effect]: [number, Effect] = [0, 'unnoticed'];
      for (const alteration of ofColumn(hand, { table, column, steps })) {
        this.#context.signal.throwIfAborted();
        effect = await this.#alterRunning(alteration);
        if (effect !== 'refused by the schema') tried += 1;
        if (effect === 'noticed' || tried >= (this.#context.short ? 1 : probes)) break;
      }
      if (effect !== 'noticed' && !table.key.includes(column)) silent.push(column);
    }
    return silent;
  }

  async #alterRunning(alteration: Alteration): Promise<Effect> {
    const { hand, alerts } = this.#world;
    alerts.length = 0;
    const made = hand.change(alteration.changes);
    if (made.length === 0) return 'refused by the schema';
    this.#counts.running += 1;
    const outcomes = await this.#player.play(alteration);
    await this.#judge(`running, ${alteration.name}`, alteration.display, outcomes);
    const noticed = this.#announced || !isSame(this.#baseline, outcomes);
    hand.change(made.map(opposite).reverse());
    // the short form looks once a table whether all is as before
    if (!this.#context.short && noticed) await this.#requireBaseline(alteration.name);
    return noticed ? 'noticed' : 'unnoticed';
  }

  /** What a stale database shows to an operator goes to nobody else: the server signs nothing. */
  #onlyShown(play: string): boolean {
    return shownPlays.has(play) && this.#world.alerts.some((text) => /DATABASE_STALE/.test(text));
  }

  /** Whether something was announced that an unaltered database does not bring about. */
  get #announced(): boolean {
    return this.#world.alerts.some((alert) => !this.#usual.has(alert));
  }

  /**
   * A server that has seen a false log, or a changed past, needs its database as it was. What it
   * refuses until then is right; what it grants is not.
   */
  async #requireBaseline(name: string): Promise<void> {
    const after = await this.#player.play();
    if (isSame(this.#baseline, after)) return;
    for (const [play, outcome] of after) {
      const before = this.#baseline.get(play) ?? outcome;
      if (outcome !== before && !isRefused(outcome))
        this.#break(`running, after ${name} was put back: ${play}: ${outcome}, before: ${before}`);
    }
    await this.#world.reset();
    const again = await this.#player.play();
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
    this.#counts.stopped += 1;
    try {
      await server.restart();
      await this.#judge(name, display, await this.#player.play());
    } catch (thrown) {
      this.#counts.refusedStarts += 1;
      const { code, message } = PkiError.from(thrown);
      if (code === 'INTERNAL') this.#break(`${name}: the start failed without a code: ${message}`);
    }
    await server.stop();
  }

  /** The whole file as after an earlier step; in the short form as after the last one. */
  async #files(): Promise<void> {
    const all = this.#world.files.map((file, at) => ({
      name: `the file as after step ${at + 1}`,
      file,
    }));
    if (this.#context.options['tables'] !== undefined) return;
    const files = this.#context.short ? all.slice(-1) : this.#share.of('files', all);
    for (const { name, file } of files) {
      this.#context.signal.throwIfAborted();
      if (this.#share.isOver()) return;
      const broken = this.#breaches.list.length;
      await this.#world.putFile(file);
      await this.#start(`stopped, ${name}`, false);
      await this.#world.putBack();
      this.#share.played('files', name, broken === this.#breaches.list.length);
    }
  }

  #tables(): readonly Table[] {
    const only = this.#context.options['tables']?.split(',');
    return this.#world.hand.tables().filter(({ name }) => only?.includes(name) !== false);
  }

  /**
   * The first alteration of a column beside the key. None for a table on which the start itself
   * rests: altered together with others it would hide them.
   */
  #first(table: Table): readonly Alteration[] {
    const { hand, steps } = this.#world;
    if (isLog(table) || ['authorities', 'bundles', 'meta', 'migrations'].includes(table.name))
      return [];
    for (const column of table.columns.filter((name) => !table.key.includes(name)))
      for (const alteration of ofColumn(hand, { table, column, steps })) return [alteration];
    return [];
  }

  #break(text: string): void {
    this.#breaches.add(text);
    this.#context.say(`✗ ${text}`);
  }

  async #judge(name: string, display: boolean, outcomes: Outcomes): Promise<void> {
    let stopped = '';
    for (const [play, outcome] of outcomes) {
      const before = this.#baseline.get(play);
      if (outcome === before) continue;
      if (this.#onlyShown(play)) stopped += `${play}: shown as it was; `;
      else if (!isRefused(outcome)) this.#break(`${name}: ${play}: ${outcome}, before: ${before}`);
      else if (display) this.#break(`${name}: ${play}: ${outcome}, for a display column`);
      else if (!isRefused(before)) stopped += `${play}: ${outcome}; `;
    }
    if (stopped === '') return;
    this.#counts.stoppedGrants += 1;
    const endMs = performance.now() + alertPatienceMs;
    while (!this.#announced && performance.now() < endMs) await sleep(20);
    if (!this.#announced) this.#break(`${name}: ${stopped}and nothing was announced`);
  }
}

const isSame = (one: Outcomes, other: Outcomes): boolean => differences(one, other) === '';

const differences = (one: Outcomes, other: Outcomes): string =>
  [...one]
    .filter(([name, outcome]) => (other.get(name) ?? outcome) !== outcome)
    .map(([name, outcome]) => `${name}: ${other.get(name)}, not ${outcome}`)
    .join('; ');
