import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import {
  decideRollout,
  newestSet,
  turnKey,
  type GivenTurn,
  type NodeHandshakes,
  type RolloutDecision,
  type RolloutMember,
  type Round,
} from '../../domain/index.ts';
import type { IssuerHandshakes } from './issuer-handshakes.ts';
import type { TargetCommands } from './target-commands.ts';
import type { TargetStates } from './target-states.ts';
import type { TargetGroupView, TargetHold } from './targets.ts';

export interface RolloutDependencies {
  readonly states: TargetStates;
  readonly commands: TargetCommands;
  readonly handshakes: IssuerHandshakes;
  readonly lyingShare: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Standing {
  readonly decision: RolloutDecision;
  /** What the log was told of it. */
  readonly told: string;
}

/** A group that waits is looked at this often: time passes, and handshakes come in. */
const everyMs = 5_000;
const maximumHolds = 100;

/**
 * Gives the targets of each group their turns. After a restart of the server a round begins anew, and
 * agents tell which turn has failed. Owner of the rounds.
 */
export class Rollouts {
  readonly #dependencies: RolloutDependencies;
  readonly #standings = new Map<string, Standing>();
  /** Failures that an operator has answered, by `turnKey`. */
  readonly #answered = new Set<string>();
  readonly #stop: () => void;
  #cancelTimer: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(dependencies: RolloutDependencies) {
    this.#dependencies = dependencies;
    this.#stop = dependencies.states.onChange(() => this.#look());
  }

  /** Groups with a round under way. */
  groups(): readonly TargetGroupView[] {
    return [...this.#standings].flatMap(
      ([
        name,
        {
          decision: { round, hold },
        },
      ]) =>
        round === undefined || round.given.length + round.failed.length === 0
          ? []
          : [{ name, phase: round.phase, hold: this.#inUnixTime(hold) }],
    );
  }

  holding(): readonly TargetHold[] {
    return [...this.#standings]
      .flatMap(([group, { decision }]) =>
        (decision.round?.failed ?? []).map(({ agentId, target, reason }) => ({
          ...{ group, agentId, target },
          code: /^[A-Z][A-Z_]{2,40}/.exec(reason)?.[0] ?? 'ROLLED_BACK',
        })),
      )
      .slice(0, maximumHolds);
  }

  /** An operator promotes the group: the failures of now hold nobody any more. */
  answer(group: string): void {
    for (const turn of this.#standings.get(group)?.decision.round?.failed ?? [])
      this.#answered.add(turnKey(turn));
    this.#look();
  }

  /** Resolves when everything known was decided on. For tests. */
  async settled(): Promise<void> {
    while (this.#looking !== undefined) await this.#looking;
  }

  close(): void {
    this.#closed = true;
    this.#stop();
    this.#cancelTimer?.();
  }

  /** Changes that come during a look share the next one. */
  #look(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#looking ??= this.#looks().finally(() => {
      this.#looking = undefined;
    });
  }

  async #looks(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        await this.#once();
      } catch (thrown) {
        this.#dependencies.logger.error(
          { ...errorFields(thrown) },
          'no turns could be given to the file targets; it is tried again',
        );
      }
    }
    this.#cancelTimer?.();
    this.#cancelTimer = this.#dependencies.clock.after(everyMs, () => {
      if ([...this.#standings.values()].some(({ decision }) => decision.round !== undefined))
        this.#look();
    });
  }

  async #once(): Promise<void> {
    const byGroup = Map.groupBy(
      [...this.#dependencies.states.all()].map(
        ({ agentId, connected, target, heardAt }): RolloutMember => ({
          ...{ agentId, connected, target, heardAt },
        }),
      ),
      ({ target }) => target.rollout?.group ?? '',
    );
    byGroup.delete('');
    for (const group of this.#standings.keys())
      if (!byGroup.has(group)) this.#standings.delete(group);
    for (const [group, members] of byGroup) await this.#decide(group, members);
    this.#forgetAnswered([...byGroup.values()].flat());
  }

  async #decide(group: string, members: readonly RolloutMember[]): Promise<void> {
    const { clock, lyingShare } = this.#dependencies;
    const before = this.#standings.get(group);
    const round = before?.decision.round;
    const handshakes = await this.#handshakes(members, round);
    const decision = decideRollout({
      ...{ members, round, handshakes, lyingShare },
      answered: this.#answered,
      now: clock.monotonicMs() / 1000,
      unixNow: clock.now(),
    });
    const told = this.#tell(group, decision, before?.told ?? '');
    if (decision.round === undefined) this.#standings.delete(group);
    else this.#standings.set(group, { decision, told });
    for (const turn of decision.turns) this.#give(group, turn);
  }

  /** Of peers with certificates of the issuers of the sets that wait, or that had their turn. */
  #handshakes(
    members: readonly RolloutMember[],
    round: Round | undefined,
  ): Promise<readonly NodeHandshakes[]> {
    const given = new Set((round?.given ?? []).map(turnKey));
    return this.#dependencies.handshakes.of(
      members.flatMap(({ agentId, target }) => {
        const newest = target.sets.at(-1);
        if (newest === undefined) return [];
        const key = turnKey({ agentId, target: target.name, set: newest.name });
        return target.waitsFor === 'turn' || given.has(key)
          ? [{ agentId, serial: newest.serial }]
          : [];
      }),
    );
  }

  #give(group: string, turn: GivenTurn): void {
    const { commands, logger } = this.#dependencies;
    const { agentId, target, set, part } = turn;
    const { answer } = commands.send(agentId, target, { act: 'turn', set, part });
    void answer.then((error) => {
      if (error === undefined || error.code === 'AGENT_NOT_CONNECTED') return;
      logger.info(
        { group, agentId, target, set, ...errorFields(error) },
        'a file target did not take its turn',
      );
      this.#passOver(group, turn);
    });
  }

  /** The agent refused the turn: it is asked no more for this set. */
  #passOver(group: string, turn: GivenTurn): void {
    const standing = this.#standings.get(group);
    const round = standing?.decision.round;
    if (standing === undefined || round === undefined) return;
    const given = round.given.filter((each) => turnKey(each) !== turnKey(turn));
    if (given.length === round.given.length) return;
    const at = this.#dependencies.clock.monotonicMs() / 1000;
    const next = { ...round, given, passedOver: [...round.passedOver, { ...turn, at }] };
    this.#standings.set(group, { ...standing, decision: { ...standing.decision, round: next } });
    this.#look();
  }

  /** Tells the log once when a group is held, and when it goes on. */
  #tell(group: string, { hold }: RolloutDecision, before: string): string {
    const { logger } = this.#dependencies;
    const told =
      hold?.kind === 'canary'
        ? hold.failed.map(turnKey).join()
        : hold?.kind === 'handshakes'
          ? 'handshakes'
          : '';
    if (told === before) return told;
    if (hold?.kind === 'canary')
      logger.warn(
        {
          ...{ alert: true, group },
          failed: hold.failed.map(({ agentId, target, set, reason }) => ({
            ...{ agentId, target, set, reason },
          })),
        },
        'a file target that had its turn first has failed, so that the rest of its group waits',
      );
    else if (hold?.kind === 'handshakes')
      logger.warn(
        { alert: true, group, agents: hold.agents.slice(0, 20) },
        'more handshakes fail since the first targets of the group have new sets: the rest waits',
      );
    else logger.info({ group }, 'the rollout over the group goes on');
    return told;
  }

  #inUnixTime(hold: RolloutDecision['hold']): RolloutDecision['hold'] {
    if (hold?.kind !== 'observing') return hold;
    const { clock } = this.#dependencies;
    const left = Math.max(0, Math.ceil(hold.until - clock.monotonicMs() / 1000));
    return { kind: 'observing', until: clock.now() + left };
  }

  #forgetAnswered(members: readonly RolloutMember[]): void {
    const kept = new Set(
      members.flatMap(({ agentId, target }) =>
        [newestSet(target), target.turn?.set ?? ''].map((set) =>
          turnKey({ agentId, target: target.name, set }),
        ),
      ),
    );
    for (const key of this.#answered) if (!kept.has(key)) this.#answered.delete(key);
  }
}
