import { createHash } from 'node:crypto';
import { judgeCanary, type NodeHandshakes } from '../rotation/canary.ts';
import { newestSet, servedSet, type ReportedTarget, type RolloutPart } from './target.ts';

/** A target of the group, with what the server itself knows of it. */
export interface RolloutMember {
  readonly agentId: string;
  /** Whether it can be given a turn now. */
  readonly connected: boolean;
  /** When its last session ended, while it is not connected; monotonic seconds. */
  readonly leftAt: number;
  readonly target: ReportedTarget;
  /** When the server first heard of its present state and sets; monotonic seconds. */
  readonly heardAt: number;
}

/** A turn that was given for one set. */
export interface GivenTurn {
  readonly agentId: string;
  readonly target: string;
  readonly set: string;
  readonly part: RolloutPart;
  /** Monotonic seconds. */
  readonly at: number;
}

/** A turn whose set was rolled back, or could not even be. It holds the others. */
export interface FailedTurn extends GivenTurn {
  /** Code and text, as the agent gave them. */
  readonly reason: string;
}

/** A turn that led to nothing: another target has it meanwhile. */
export interface PassedTurn extends GivenTurn {
  /** Until then its target gets no turn for this set; monotonic seconds. */
  readonly until: number;
}

/** One change of a group, from its first canary until nobody waits any more. */
export interface Round {
  readonly phase: RolloutPart;
  /** When the rest got its turn, monotonic seconds. Who staged later waits for the next round. */
  readonly restAt: number | undefined;
  readonly given: readonly GivenTurn[];
  readonly failed: readonly FailedTurn[];
  /** The agent refused them, or was silent for too long. */
  readonly passedOver: readonly PassedTurn[];
  /** The rate of failed handshakes before the first turn. */
  readonly failuresBefore: number;
}

export interface RolloutInput {
  readonly members: readonly RolloutMember[];
  /** Undefined: nothing is under way. */
  readonly round: Round | undefined;
  /** Failures that an operator has answered, as `turnKey`. They hold nobody. */
  readonly answered: ReadonlySet<string>;
  /** What workloads saw of peers with certificates of the issuers of the staged and served sets. */
  readonly handshakes: readonly NodeHandshakes[];
  /** The share of the nodes with reports that may lie; below 0.5. */
  readonly lyingShare: number;
  /** Monotonic seconds. */
  readonly now: number;
  /** Unix seconds, as in certificates. */
  readonly unixNow: number;
}

/** Why the targets of a group wait. */
export type RolloutHold =
  | { readonly kind: 'canary'; readonly failed: readonly FailedTurn[] }
  | { readonly kind: 'handshakes'; readonly agents: readonly string[] }
  | { readonly kind: 'observing'; readonly until: number }
  | { readonly kind: 'proving' };

export interface RolloutDecision {
  readonly round: Round | undefined;
  /** To be given now. They are in `round` already. */
  readonly turns: readonly GivenTurn[];
  /** Undefined: nobody waits. */
  readonly hold: RolloutHold | undefined;
}

/** An agent settles a turn by its own time limits. One that takes longer is passed over. */
export const silentTurnSeconds = 900;
/** An agent refuses a turn while it looks after the target. It is asked again. */
export const refusedTurnSeconds = 60;
/** An agent that comes back within this time, as after the renewal of its own SVID, was not away. */
export const awaySeconds = 60;
/** No configuration of an agent holds its group for longer. */
const longestObservationSeconds = 86_400;
/** How far the rate of failed handshakes may rise. */
const acceptedRise = 0.01;

export const turnKey = ({
  agentId,
  target,
  set,
}: Pick<GivenTurn, 'agentId' | 'target' | 'set'>): string => `${agentId} ${target} ${set}`;

/**
 * Which targets of one group get their turn. The first part is a share of the targets, at least one,
 * and spread over as many agents as possible. The rest follows after each of the first part was
 * proven and watched, and while failed handshakes do not increase. Sets that are staged while the rest
 * has its turn begin a round of their own, so that no agent keeps a round open for them by changing
 * again and again. A turn that failed holds all
 * others until that target stages another set, leaves the group, or an operator answers it.
 * A set that its agent or server refused before it was served has failed as well.
 *
 * What an agent reports decides on nothing but turns. One that lies about a failure holds its group,
 * and is named; nobody waits beyond the time from which its certificate is about to end. One that lies about a
 * success gains nothing: each target is proven, and goes back, by its own agent.
 */
export function decideRollout(input: RolloutInput): RolloutDecision {
  const world = worldOf(input.members, input.now);
  const round = settle(input.round ?? opened(input), world, input);
  const waiting = waitingIn(world, round);
  return withEnding(inOrder(round, waiting, world, input), waiting, input);
}

function inOrder(
  round: Round,
  waiting: readonly RolloutMember[],
  world: World,
  input: RolloutInput,
): RolloutDecision {
  const { now } = input;
  if (round.failed.length > 0)
    return { round, turns: [], hold: { kind: 'canary', failed: round.failed } };
  if (round.phase === 'canary' && waiting.length > 0)
    return canaryPhase(round, waiting, world, input);
  const { restAt = -Infinity } = round;
  const [inRound, late] = [
    waiting.filter(({ heardAt }) => heardAt <= restAt),
    waiting.filter(({ heardAt }) => heardAt > restAt),
  ];
  if (inRound.length > 0) return give(round, inRound, 'rest', now);
  if (!round.given.every((turn) => isDone(turn, world, round, now)))
    return round.phase === 'rest'
      ? { round, turns: [], hold: undefined }
      : canaryPhase(round, waiting, world, input);
  const next = ended(round, input);
  return late.length === 0
    ? { round: next, turns: [], hold: undefined }
    : inOrder(next ?? opened(input), late, world, input);
}

/** Nothing is cut off: a target whose certificate is about to end waits for nobody. */
function withEnding(
  decision: RolloutDecision,
  waiting: readonly RolloutMember[],
  { now, unixNow }: RolloutInput,
): RolloutDecision {
  const { round } = decision;
  const given = new Set(decision.turns.map(turnKey));
  const ending = waiting.filter(
    ({ agentId, target }) =>
      !given.has(turnKey({ agentId, target: target.name, set: newestSet(target) })) &&
      isEnding(target, unixNow),
  );
  if (round === undefined || ending.length === 0) return decision;
  const more = give(round, ending, 'rest', now);
  return { ...more, turns: [...decision.turns, ...more.turns], hold: decision.hold };
}

/** As the agent counts it: the last quarter of the life. */
const endingShare = 0.25;

function isEnding({ sets }: ReportedTarget, unixNow: number): boolean {
  const served = sets.find(({ current }) => current);
  return (
    served !== undefined &&
    served.notAfter - unixNow <= (served.notAfter - served.notBefore) * endingShare
  );
}

interface World {
  readonly members: ReadonlyMap<string, RolloutMember>;
  readonly canaries: number;
  readonly observeSeconds: number;
}

const memberKey = (agentId: string, target: string): string => `${agentId} ${target}`;

/** The settings of a group are the medians over its agents: no single one decides. */
function worldOf(members: readonly RolloutMember[], now: number): World {
  const present = members.filter((member) => isPresent(member, now));
  const byAgent = new Map(present.map(({ agentId, target }) => [agentId, target.rollout]));
  const rollouts = [...byAgent.values()].filter((rollout) => rollout !== undefined);
  const shares = rollouts.map(({ canaryShare }) => canaryShare).toSorted((a, b) => b - a);
  const observed = rollouts.map(({ observeSeconds }) => observeSeconds).toSorted((a, b) => a - b);
  return {
    members: new Map(
      members.map((member) => [memberKey(member.agentId, member.target.name), member]),
    ),
    canaries: Math.max(1, Math.ceil(Math.min(1, median(shares)) * sizeOf(present))),
    observeSeconds: Math.min(longestObservationSeconds, median(observed)),
  };
}

/**
 * How many targets a group has. An agent with more of them than the median counts for no more than
 * that: names of targets that one agent makes up do not let all others go first.
 */
function sizeOf(present: readonly RolloutMember[]): number {
  const counts = [...Map.groupBy(present, ({ agentId }) => agentId).values()].map(
    ({ length }) => length,
  );
  const most = median(counts.toSorted((a, b) => b - a));
  return counts.reduce((sum, count) => sum + Math.min(count, most), 0);
}

const isPresent = ({ connected, leftAt }: RolloutMember, now: number): boolean =>
  connected || now - leftAt <= awaySeconds;

/** Of an even number the later one, which is the more careful one in both lists. */
const median = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length / 2)] ?? 0;

/** After a restart of the server, agents tell which turn failed. */
function opened({ members, answered, handshakes, lyingShare, now }: RolloutInput): Round {
  const failed = members.flatMap(({ agentId, target }): readonly FailedTurn[] => {
    const { turn, state, reason, name, waitsFor } = target;
    // what an operator took back since then holds nobody
    if (turn === undefined || !isBad(state) || waitsFor === 'hand') return [];
    const given = { agentId, target: name, set: turn.set, part: turn.part, at: now };
    return answered.has(turnKey(given)) ? [] : [{ ...given, reason }];
  });
  return {
    phase: 'canary',
    restAt: undefined,
    given: [],
    failed,
    passedOver: [],
    failuresBefore: judgeCanary(handshakes, { maximumFailureRate: 0, lyingShare }).failureRate,
  };
}

/** Those that were passed over are remembered, so that they are not asked again at once. */
const ended = ({ passedOver }: Round, input: RolloutInput): Round | undefined =>
  passedOver.length === 0 ? undefined : { ...opened(input), passedOver };

const isBad = (state: ReportedTarget['state']): boolean =>
  state === 'rolling-back' || state === 'rolled-back' || state === 'failed';

/** Takes over what became of the turns. */
function settle(round: Round, { members }: World, { answered, now }: RolloutInput): Round {
  const of = ({ agentId, target }: GivenTurn) => members.get(memberKey(agentId, target));
  const failed = round.failed.filter((turn) => {
    const came = outcomeOf(of(turn), turn);
    return (came === 'failed' || came === 'moving') && !answered.has(turnKey(turn));
  });
  const given: GivenTurn[] = [];
  const passedOver = round.passedOver.filter(
    (turn) => outcomeOf(of(turn), turn) !== 'gone' && now < turn.until,
  );
  for (const turn of round.given) {
    const member = of(turn);
    const present = member !== undefined && isPresent(member, now);
    const silent = now - turn.at > silentTurnSeconds;
    switch (outcomeOf(member, turn)) {
      case 'failed':
        if (!answered.has(turnKey(turn)))
          failed.push({ ...turn, reason: member?.target.reason ?? '' });
        break;
      case 'good':
        // who went away is watched no more
        if (present || turn.part === 'rest') given.push(turn);
        break;
      case 'moving':
        if (present && !silent) given.push(turn);
        else passedOver.push({ ...turn, until: now + silentTurnSeconds });
        break;
      case 'gone':
        break;
    }
  }
  return { ...round, given, failed, passedOver };
}

/**
 * What became of a turn. `gone`: another set took its place, or the target is no more. The set that
 * failed may be off the disk already.
 */
function outcomeOf(
  member: RolloutMember | undefined,
  { set }: GivenTurn,
): 'good' | 'failed' | 'moving' | 'gone' {
  if (member === undefined) return 'gone';
  const { target } = member;
  const isNewest = newestSet(target) === set;
  if (isBad(target.state)) return 'failed';
  if (target.state === 'staged') return isNewest ? 'moving' : 'gone';
  if (isGood(member, set)) return 'good';
  if (isNewest) return 'moving';
  return target.reason === '' ? 'gone' : 'failed';
}

const isGood = ({ target }: RolloutMember, set: string): boolean =>
  (target.state === 'proven' || target.state === 'applied') && servedSet(target) === set;

function isDone(
  turn: GivenTurn,
  { members, observeSeconds }: World,
  { phase }: Round,
  now: number,
): boolean {
  const member = members.get(memberKey(turn.agentId, turn.target));
  if (member === undefined || !isGood(member, turn.set)) return false;
  // a canary that nobody waits for is watched as well: others may stage meanwhile
  return phase === 'rest' || now >= member.heardAt + observeSeconds;
}

/** Those that wait for a turn. */
function waitingIn({ members }: World, round: Round): readonly RolloutMember[] {
  const taken = new Set([...round.given, ...round.failed, ...round.passedOver].map(turnKey));
  return [...members.values()].filter(
    ({ agentId, connected, target }) =>
      connected &&
      target.state === 'staged' &&
      target.waitsFor === 'turn' &&
      !taken.has(turnKey({ agentId, target: target.name, set: newestSet(target) })),
  );
}

/**
 * First one target of each agent, then the second of each, and so on. An agent chooses the names of
 * its targets, but not its own: so only that one decides on its place.
 */
function inTurn(waiting: readonly RolloutMember[]): readonly RolloutMember[] {
  const nth = new Map<string, number>();
  return waiting
    .toSorted((a, b) => (a.target.name < b.target.name ? -1 : 1))
    .map((member) => {
      const round = nth.get(member.agentId) ?? 0;
      nth.set(member.agentId, round + 1);
      const place = createHash('sha256').update(member.agentId).digest('hex');
      return { member, order: `${String(round).padStart(6, '0')} ${place}` };
    })
    .toSorted((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ member }) => member);
}

function give(
  round: Round,
  members: readonly RolloutMember[],
  part: RolloutPart,
  now: number,
): RolloutDecision {
  const turns = members.map(({ agentId, target }) => ({
    ...{ agentId, target: target.name, set: newestSet(target) },
    ...{ part, at: now },
  }));
  return { round: { ...round, given: [...round.given, ...turns] }, turns, hold: undefined };
}

function canaryPhase(
  round: Round,
  waiting: readonly RolloutMember[],
  world: World,
  { handshakes, lyingShare, now }: RolloutInput,
): RolloutDecision {
  const canaryTurns = round.given.filter(({ part }) => part === 'canary');
  const missing = world.canaries - canaryTurns.length;
  if (missing > 0 && waiting.length > 0) {
    const first = give(round, inTurn(waiting).slice(0, missing), 'canary', now);
    return { ...first, hold: waiting.length > missing ? { kind: 'proving' } : undefined };
  }
  const held = (hold: RolloutHold): RolloutDecision => ({
    round,
    turns: [],
    hold: waiting.length === 0 ? undefined : hold,
  });
  const canaries = canaryTurns.map((turn) => ({
    turn,
    member: world.members.get(memberKey(turn.agentId, turn.target)),
  }));
  if (!canaries.every(({ turn, member }) => member !== undefined && isGood(member, turn.set)))
    return held({ kind: 'proving' });
  const until =
    Math.max(...canaries.map(({ member }) => member?.heardAt ?? now)) + world.observeSeconds;
  const accepted = round.failuresBefore + acceptedRise;
  const verdict = judgeCanary(handshakes, { maximumFailureRate: accepted, lyingShare });
  if (verdict.failureRate > accepted) return held({ kind: 'handshakes', agents: verdict.failing });
  // one that is away for a moment is heard before the rest follows it
  return now < until || canaries.some(({ member }) => member?.connected !== true)
    ? held({ kind: 'observing', until })
    : give({ ...round, phase: 'rest', restAt: now }, waiting, 'rest', now);
}
