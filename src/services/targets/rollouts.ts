import { isErrorCode } from '../../common/errors/index.ts';
import { errorFields, TokenBucket, type Clock, type Logger } from '../../common/runtime/index.ts';
import {
  decideRollout,
  newestSet,
  refusedTurnSeconds,
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
/** Reports within this time share a look. */
const gatherMs = 100;
const maximumHolds = 100;
/** Lines of the log, since an agent can state another failure with each report. */
const lineRate = { perSecond: 0.5, burst: 50 };
/** Failures and agents in one line. */
const maximumNamed = 20;

/** An agent puts the code before the text. Others than those of ours are no label. */
function codeIn(reason: string): string {
  const code = reason.split(':')[0] ?? '';
  return isErrorCode(code) ? code : 'ROLLED_BACK';
}

/**
 * Gives the targets of each group their turns. After a restart of the server a round begins anew, and
 * agents tell which turn has failed. Owner of the rounds.
 */
export class Rollouts {
  readonly #dependencies: RolloutDependencies;
  readonly #standings = new Map<string, Standing>();
  /** By group: failures that an operator has answered, as `turnKey`. */
  readonly #answered = new Map<string, Set<string>>();
  readonly #stop: () => void;
  readonly #lines: TokenBucket;
  /** Groups to look at. */
  #dirty = new Set<string>();
  /** Groups that could not be looked at. */
  #failed = new Set<string>();
  #cancelTimer: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(dependencies: RolloutDependencies) {
    this.#dependencies = dependencies;
    this.#lines = new TokenBucket(lineRate, dependencies.clock);
    this.#stop = dependencies.states.onChange((groups) => this.#look(groups));
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
          code: codeIn(reason),
        })),
      )
      .slice(0, maximumHolds);
  }

  /** An operator promotes the group: the failures of now hold nobody any more. */
  answer(group: string): void {
    const failed = this.#standings.get(group)?.decision.round?.failed ?? [];
    const answered = this.#answered.get(group) ?? new Set();
    for (const turn of failed) answered.add(turnKey(turn));
    this.#answered.set(group, answered);
    this.#look([group]);
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

  #look(groups: Iterable<string>): void {
    for (const group of groups) this.#dirty.add(group);
    if (this.#dirty.size > 0) this.#planned(gatherMs);
  }

  #planned(delayMs: number): void {
    if (this.#closed || this.#looking !== undefined) return;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#dependencies.clock.after(delayMs, () => {
      this.#looking = this.#once().finally(() => {
        this.#looking = undefined;
        if (this.#dirty.size > 0) this.#planned(gatherMs);
        else if (this.#standings.size + this.#failed.size > 0) this.#planned(everyMs);
      });
    });
  }

  /** Looks at the groups that changed, and at those that wait. */
  async #once(): Promise<void> {
    const groups = new Set([...this.#dirty, ...this.#failed, ...this.#standings.keys()]);
    this.#dirty = new Set();
    this.#failed = new Set();
    for (const group of groups)
      try {
        await this.#decide(group);
      } catch (thrown) {
        this.#failed.add(group);
        this.#dependencies.logger.error(
          { group, ...errorFields(thrown) },
          'no turns could be given to file targets; it is tried again',
        );
      }
  }

  async #decide(group: string): Promise<void> {
    const { clock, lyingShare, states } = this.#dependencies;
    const members = [...states.inGroup(group)];
    const before = this.#standings.get(group);
    const round = before?.decision.round;
    const handshakes = await this.#handshakes(members, round);
    const decision = decideRollout({
      ...{ members, round, handshakes, lyingShare },
      answered: this.#answered.get(group) ?? new Set(),
      now: clock.monotonicMs() / 1000,
      unixNow: clock.now(),
    });
    const told = this.#tell(group, decision, before?.told ?? '');
    if (decision.round === undefined) this.#standings.delete(group);
    else this.#standings.set(group, { decision, told });
    this.#forgetAnswered(group, members);
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
      if (this.#lines.take() === 0)
        logger.info(
          { group, agentId, target, set, ...errorFields(error) },
          'a file target did not take its turn',
        );
      this.#passOver(group, turn);
    });
  }

  /** The agent refused the turn: another target gets it, and this one is asked again later. */
  #passOver(group: string, turn: GivenTurn): void {
    const standing = this.#standings.get(group);
    const round = standing?.decision.round;
    if (standing === undefined || round === undefined) return;
    const given = round.given.filter((each) => turnKey(each) !== turnKey(turn));
    if (given.length === round.given.length) return;
    const until = this.#dependencies.clock.monotonicMs() / 1000 + refusedTurnSeconds;
    const next = { ...round, given, passedOver: [...round.passedOver, { ...turn, until }] };
    this.#standings.set(group, { ...standing, decision: { ...standing.decision, round: next } });
    this.#look([group]);
  }

  /** Tells the log once when a group is held, and when it goes on; later where lines are too many. */
  #tell(group: string, { hold }: RolloutDecision, before: string): string {
    const { logger } = this.#dependencies;
    const told =
      hold?.kind === 'canary'
        ? hold.failed.map(turnKey).join()
        : hold?.kind === 'handshakes'
          ? 'handshakes'
          : '';
    if (told === before || this.#lines.take() > 0) return before;
    if (hold?.kind === 'canary')
      logger.warn(
        {
          ...{ alert: true, group, failures: hold.failed.length },
          failed: hold.failed.slice(0, maximumNamed).map(({ agentId, target, set, reason }) => ({
            ...{ agentId, target, set, reason },
          })),
        },
        'a file target that had its turn first has failed, so that the rest of its group waits',
      );
    else if (hold?.kind === 'handshakes')
      logger.warn(
        { alert: true, group, agents: hold.agents.slice(0, maximumNamed) },
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

  /** An answer counts for as long as the agent reports the set or the turn. */
  #forgetAnswered(group: string, members: readonly RolloutMember[]): void {
    const kept = new Set(
      members.flatMap(({ agentId, target }) =>
        [newestSet(target), target.turn?.set ?? ''].map((set) =>
          turnKey({ agentId, target: target.name, set }),
        ),
      ),
    );
    const answered = this.#answered.get(group);
    for (const key of answered ?? []) if (!kept.has(key)) answered?.delete(key);
    if (answered?.size === 0) this.#answered.delete(group);
  }
}
