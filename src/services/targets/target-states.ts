import { PkiError } from '../../common/errors/index.ts';
import { TokenBucket, type Clock } from '../../common/runtime/index.ts';
import {
  newestSet,
  servedSet,
  type ReportedTarget,
  type RolloutMember,
} from '../../domain/index.ts';
import { enforceRate } from '../requests.ts';
import { checkTarget, maximumTargets, type TargetReport } from './target-report.ts';
import type { TargetView } from './targets.ts';

interface Known {
  readonly target: ReportedTarget;
  /** When its present state and sets were heard of; monotonic seconds. */
  readonly heardAt: number;
}

interface AgentTargets {
  /** Identifies the session that reports. Undefined: the agent is away. */
  session: object | undefined;
  /** The snapshot of this session has come. */
  told: boolean;
  /** When the last session ended that had told; monotonic seconds. */
  leftAt: number;
  targets: Map<string, Known>;
}

/**
 * A report costs no commit, but everybody who waits looks at it. Each answer to a command has one
 * before it, and commands to all targets of an agent come together: to stage, to promote, and turns.
 */
const reportRate = { perSecond: 10, burst: 3 * maximumTargets };

/**
 * What agents report of their file targets. It is kept in memory: after a restart they report again.
 * What an agent that went away reported last stays, and is marked. Owner of that memory.
 */
export class TargetStates {
  readonly #clock: Clock;
  readonly #agents = new Map<string, AgentTargets>();
  /** By rollout group: the agents that have targets in it. */
  readonly #groups = new Map<string, Set<string>>();
  readonly #listeners = new Set<(groups: Iterable<string>) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Called with the groups that a change concerns. */
  onChange(listener: (groups: Iterable<string>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A session of the agent begins. Its reports go to the function that is returned. */
  opened(agentId: string, session: object): (report: TargetReport) => void {
    const agent = this.#agents.get(agentId) ?? {
      ...{ session, told: false, leftAt: this.#now() },
      targets: new Map(),
    };
    this.#left(agent);
    agent.session = session;
    this.#agents.set(agentId, agent);
    const bucket = new TokenBucket(reportRate, this.#clock);
    return (report) => {
      enforceRate(bucket.take(), 'too many reports of targets');
      if (agent.session === session) this.#take(agentId, agent, report);
    };
  }

  /** The session is over. One that began meanwhile stays. */
  closed(agentId: string, session: object): void {
    const agent = this.#agents.get(agentId);
    if (agent?.session !== session) return;
    this.#left(agent);
    agent.session = undefined;
    if (agent.targets.size === 0) this.#agents.delete(agentId);
    this.#changed(groupsOf(agent.targets));
  }

  /** The agent was banned or evicted, or reports no targets. */
  forget(agentId: string): void {
    const agent = this.#agents.get(agentId);
    if (agent === undefined) return;
    this.#agents.delete(agentId);
    this.#reindex(agentId, groupsOf(agent.targets), new Set());
  }

  /** The targets of a rollout group. */
  *inGroup(group: string): Iterable<RolloutMember> {
    for (const agentId of this.#groups.get(group) ?? []) {
      const { told, leftAt, targets } = this.#agents.get(agentId) as AgentTargets;
      for (const { target, heardAt } of targets.values())
        if (target.rollout?.group === group)
          yield { agentId, connected: told, leftAt, target, heardAt };
    }
  }

  get(agentId: string, name: string): TargetView | undefined {
    const agent = this.#agents.get(agentId);
    const known = agent?.targets.get(name);
    return agent === undefined || known === undefined
      ? undefined
      : { agentId, connected: agent.told, target: known.target };
  }

  /** All targets, by agent and name. */
  *all(): Iterable<TargetView> {
    for (const agentId of [...this.#agents.keys()].sort()) {
      const { told, targets } = this.#agents.get(agentId) as AgentTargets;
      for (const name of [...targets.keys()].sort()) {
        const { target } = targets.get(name) as Known;
        yield { agentId, connected: told, target };
      }
    }
  }

  #take(
    agentId: string,
    agent: AgentTargets,
    { snapshot, targets, removedNames }: TargetReport,
  ): void {
    if (!snapshot && !agent.told)
      throw new PkiError('INVALID_REQUEST', 'the first report of targets is a snapshot');
    const checked = targets.map(checkTarget);
    const next = new Map(snapshot ? [] : agent.targets);
    for (const name of removedNames) next.delete(name);
    for (const target of checked) next.set(target.name, this.#known(agent, target));
    if (next.size > maximumTargets)
      throw new PkiError('REQUEST_TOO_LARGE', `an agent reports at most ${maximumTargets} targets`);
    const before = groupsOf(agent.targets);
    agent.targets = next;
    agent.told = true;
    // an agent that was banned meanwhile is not in the list any more
    if (this.#agents.get(agentId) === agent) this.#reindex(agentId, before, groupsOf(next));
  }

  #left(agent: AgentTargets): void {
    if (agent.told) agent.leftAt = this.#now();
    agent.told = false;
  }

  #now(): number {
    return this.#clock.monotonicMs() / 1000;
  }

  #reindex(agentId: string, before: ReadonlySet<string>, after: ReadonlySet<string>): void {
    for (const group of before) {
      if (after.has(group)) continue;
      const agents = this.#groups.get(group);
      agents?.delete(agentId);
      if (agents?.size === 0) this.#groups.delete(group);
    }
    for (const group of after)
      this.#groups.set(group, (this.#groups.get(group) ?? new Set()).add(agentId));
    this.#changed(new Set([...before, ...after]));
  }

  #known({ targets }: AgentTargets, target: ReportedTarget): Known {
    const before = targets.get(target.name);
    const same =
      before !== undefined &&
      before.target.state === target.state &&
      newestSet(before.target) === newestSet(target) &&
      servedSet(before.target) === servedSet(target);
    return { target, heardAt: same ? before.heardAt : this.#now() };
  }

  #changed(groups: ReadonlySet<string>): void {
    for (const listener of this.#listeners) listener(groups);
  }
}

const groupsOf = (targets: ReadonlyMap<string, Known>): ReadonlySet<string> =>
  new Set(
    [...targets.values()].flatMap(({ target }) =>
      target.rollout === undefined ? [] : [target.rollout.group],
    ),
  );
