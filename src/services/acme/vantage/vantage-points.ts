import { PkiError } from '../../../common/errors/index.ts';
import type { Clock } from '../../../common/runtime/index.ts';
import {
  corroborationOf,
  type Corroboration,
  type Perspective,
  type Quorum,
} from '../../../domain/index.ts';
import { AccountPlaces } from './account-places.ts';
import type { VantageAgent, VantageAgents } from './vantage-agents.ts';
import { absent, type VantageAnswer, type VantageAsk } from './vantage-task.ts';

/** A place in the network, as the configuration names it: one agent, or the nodes with selectors. */
export interface PerspectiveSettings {
  readonly name: string;
  readonly agentId?: string | undefined;
  readonly selectors?: readonly string[] | undefined;
}

/** `acme.validation.vantage` of the configuration. */
export interface VantagePointSettings {
  readonly perspectives: readonly PerspectiveSettings[];
  /** So many may disagree. */
  readonly disagreeing: number;
  /** So many must agree; undefined: all but `disagreeing`. */
  readonly agreeing?: number | undefined;
  readonly timeoutSeconds: number;
}

export interface VantagePointDependencies {
  readonly agents: Pick<VantageAgents, 'connected' | 'oneOf' | 'ask' | 'onForgotten'>;
  readonly settings: VantagePointSettings;
  /** Called for each perspective of each validation. */
  readonly observe: (perspective: string, result: Perspective['result']) => void;
  readonly clock: Clock;
}

export interface Round {
  readonly corroboration: Exclude<Corroboration, 'open'>;
  /** In the order of the configuration. */
  readonly perspectives: readonly Perspective[];
}

/** Once it is decided, the others have so long to be on record too. */
const graceMs = 1_000;
/** Rounds of one account: a quarter of the tasks that an agent takes at a time by default. */
export const roundsPerAccount = 4;

/**
 * The name of the perspective that an agent stands for; undefined: the configuration names it
 * nowhere. An agent counts once: for the place that names it by its ID, or else for the first one
 * whose selectors its node has.
 */
export function perspectiveOf(
  { agentId, selectors }: VantageAgent,
  perspectives: readonly PerspectiveSettings[],
): string | undefined {
  const byId = perspectives.find((each) => each.agentId === agentId);
  const bySelectors = (): PerspectiveSettings | undefined =>
    perspectives.find(
      (each) =>
        each.selectors !== undefined &&
        each.selectors.length > 0 &&
        each.selectors.every((selector) => selectors.has(selector)),
    );
  return (byId ?? bySelectors())?.name;
}

/** Asks the agents of the configured places, one a place, and judges what they say. */
export class VantagePoints {
  readonly #dependencies: VantagePointDependencies;
  readonly #quorum: Quorum;
  readonly #places: AccountPlaces;

  constructor(dependencies: VantagePointDependencies) {
    this.#dependencies = dependencies;
    this.#places = new AccountPlaces(roundsPerAccount, dependencies.clock);
    const { perspectives, disagreeing, agreeing } = dependencies.settings;
    this.#quorum = { disagreeing, agreeing: agreeing ?? perspectives.length - disagreeing };
  }

  /** False: the server alone decides, as it is configured. */
  get isOn(): boolean {
    return this.#dependencies.settings.perspectives.length > 0;
  }

  /** Why no validation can come to an end now. Undefined: enough agents are connected. */
  shortfall(): PkiError | undefined {
    if (!this.isOn) return undefined;
    const { perspectives } = this.#dependencies.settings;
    const there = this.#present();
    const missing = perspectives.filter(({ name }) => !there.has(name)).map(({ name }) => name);
    return there.size >= this.#quorum.agreeing
      ? undefined
      : this.tooFew(`no agent is connected for ${missing.join(', ')}`);
  }

  tooFew(why: string): PkiError {
    const { agreeing } = this.#quorum;
    return new PkiError(
      'ACME_VANTAGE_SHORT',
      `${agreeing} vantage agents must see what this CA sees, and ${why}`,
    );
  }

  /**
   * Resolves when it is decided, or at the abort, when those without an answer are absent. A round
   * waits for a place of its account, and its time begins then.
   */
  async ask(ask: Omit<VantageAsk, 'timeoutSeconds'>, signal: AbortSignal): Promise<Round> {
    const { settings, clock } = this.#dependencies;
    const { accountUri } = ask;
    let free = this.#places.take(accountUri);
    while (free === undefined && !signal.aborted) {
      await this.#places.change(accountUri, signal);
      free = this.#places.take(accountUri);
    }
    // an agent without an answer is at it until its time is over, whatever is decided here
    let freeAtMs = clock.monotonicMs() + settings.timeoutSeconds * 1000;
    try {
      const round = await this.#round(ask, signal);
      if (!round.perspectives.some(({ code }) => code === 'silent')) freeAtMs = clock.monotonicMs();
      return round;
    } finally {
      free?.(freeAtMs);
    }
  }

  async #round(ask: Omit<VantageAsk, 'timeoutSeconds'>, signal: AbortSignal): Promise<Round> {
    const { agents, settings, observe, clock } = this.#dependencies;
    const { timeoutSeconds } = settings;
    const over = new AbortController();
    const cancels = [clock.after(timeoutSeconds * 1000, () => over.abort())];
    const until = AbortSignal.any([signal, over.signal]);
    const seats = this.#seats();
    const answers = new Map<string, VantageAnswer>();
    const banned = new Set<string>();
    let inGrace = false;
    const answered = (name: string, answer: VantageAnswer): void => {
      answers.set(name, answer);
      const decided = this.#judge([...seats.keys()].map((each) => answers.get(each)));
      if (decided === 'open' || inGrace) return;
      inGrace = true;
      cancels.push(clock.after(graceMs, () => over.abort()));
    };
    cancels.push(
      agents.onForgotten((agentId) => {
        banned.add(agentId);
        for (const [name, seat] of seats)
          if (seat?.agentId === agentId) answers.set(name, absent('not-connected'));
      }),
    );
    try {
      await Promise.all(
        [...seats].map(async ([name, seat]) => {
          const answer =
            seat === undefined
              ? absent('not-connected')
              : await agents.ask(seat.agentId, { ...ask, timeoutSeconds }, until);
          answered(name, banned.has(seat?.agentId ?? '') ? absent('not-connected') : answer);
        }),
      );
    } finally {
      for (const cancel of cancels) cancel();
    }
    const perspectives = [...seats.keys()].map((name) => ({
      name,
      ...(answers.get(name) ?? absent('silent')),
    }));
    for (const { name, result } of perspectives) observe(name, result);
    const corroboration = this.#judge(perspectives);
    return { corroboration: corroboration === 'open' ? 'short' : corroboration, perspectives };
  }

  #judge(answers: readonly (VantageAnswer | undefined)[]): Corroboration {
    return corroborationOf(
      answers.map((answer) => answer?.result ?? 'awaited'),
      this.#quorum,
    );
  }

  /** The agent of each place, one by chance where there are several. */
  #seats(): ReadonlyMap<string, VantageAgent | undefined> {
    const { agents, settings } = this.#dependencies;
    const there = this.#present();
    return new Map(
      settings.perspectives.map(({ name }) => [name, agents.oneOf(there.get(name) ?? [])]),
    );
  }

  /** The places where agents are connected, with these agents. */
  #present(): ReadonlyMap<string, readonly VantageAgent[]> {
    const { agents, settings } = this.#dependencies;
    const found = new Map<string, VantageAgent[]>();
    for (const agent of agents.connected()) {
      const name = perspectiveOf(agent, settings.perspectives);
      if (name === undefined) continue;
      const others = found.get(name);
      if (others === undefined) found.set(name, [agent]);
      else others.push(agent);
    }
    return found;
  }
}
