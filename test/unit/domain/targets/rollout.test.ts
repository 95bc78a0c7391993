import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  awaySeconds,
  decideRollout,
  silentTurnSeconds,
  turnKey,
  type NodeHandshakes,
  type ReportedTarget,
  type RolloutDecision,
  type RolloutMember,
  type Round,
  type TargetState,
} from '../../../../src/domain/index.ts';
import { seeded } from '../../../support/seeded.ts';

interface Shape {
  readonly state?: TargetState;
  readonly set?: string;
  readonly served?: string;
  readonly share?: number;
  readonly observe?: number;
  readonly connected?: boolean;
  readonly heardAt?: number;
  readonly leftAt?: number;
  readonly waitsFor?: ReportedTarget['waitsFor'];
  readonly turn?: ReportedTarget['turn'];
  readonly target?: string;
  readonly reason?: string;
  /** Of the set that is served, at the end of the life of 100 s. */
  readonly notAfter?: number;
}

function member(agent: string, shape: Shape = {}): RolloutMember {
  const { state = 'staged', set = '2-bb', share = 0.1, observe = 60 } = shape;
  const served = shape.served ?? (state === 'proven' || state === 'applied' ? set : '1-aa');
  const names = [...new Set(['1-aa', set])];
  return {
    agentId: `spiffe://td/meshca/agent/${agent}`,
    connected: shape.connected ?? true,
    leftAt: shape.leftAt ?? -Infinity,
    heardAt: shape.heardAt ?? 0,
    target: {
      ...{ name: shape.target ?? 'web', driver: 'nginx', state, spiffeId: 'spiffe://td/web' },
      ...{
        reason: shape.reason ?? (state === 'failed' ? 'PROOF_MISSING: old serial' : ''),
        next: '',
        names: [],
        since: 0,
      },
      sets: names.map((name) => ({
        ...{ name, serial: name.split('-')[1] as string, notBefore: (shape.notAfter ?? 1e9) - 100 },
        notAfter: shape.notAfter ?? 1e9,
        current: name === served,
      })),
      rollout: { group: 'edge', canaryShare: share, observeSeconds: observe },
      waitsFor: shape.waitsFor ?? (state === 'staged' ? 'turn' : 'nothing'),
      turn: shape.turn,
    },
  };
}

const decide = (
  members: readonly RolloutMember[],
  round: Round | undefined,
  over: {
    readonly now?: number;
    readonly answered?: readonly string[];
    readonly handshakes?: readonly NodeHandshakes[];
  } = {},
): RolloutDecision =>
  decideRollout({
    ...{ members, round, now: over.now ?? 0, lyingShare: 0.2, unixNow: over.now ?? 0 },
    answered: new Set(over.answered),
    handshakes: over.handshakes ?? [],
  });

const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
const nameOf = (agentId: string): string => agentId.split('/').at(-1) as string;

/** Ten nodes of which one, `canary`, has had its turn. */
function afterFirst(shape: Shape = {}) {
  const all = names.map((name) => member(name, shape));
  const first = decide(all, undefined);
  const canary = nameOf(first.turns[0]?.agentId as string);
  const with_ = (change: Shape): readonly RolloutMember[] =>
    names.map((name) => member(name, name === canary ? { ...shape, ...change } : shape));
  return { all, first, canary, with_, round: first.round as Round };
}

describe('a rollout over a group', () => {
  test('gives the first turn to a share of the group, and at least to one', () => {
    const counts = [0, 0.1, 0.25, 0.5, 1].map(
      (share) =>
        decide(
          names.map((name) => member(name, { share })),
          undefined,
        ).turns.length,
    );
    assert.deepEqual(counts, [1, 1, 3, 5, 10]);
  });

  test('chooses the same targets again, whatever the order of the reports', () => {
    const all = names.map((name) => member(name, { share: 0.3 }));
    assert.deepEqual(decide(all.toReversed(), undefined).turns, decide(all, undefined).turns);
  });

  test('the names of its targets bring no agent to the front', () => {
    const many = Array.from({ length: 50 }, (_, index) =>
      member('n0', { target: `t${index}`, share: 0.6 }),
    );
    const others = names.slice(1).map((name) => member(name, { share: 0.6 }));
    const { turns } = decide([...many, ...others], undefined);
    assert.equal(turns.length, 6);
    assert.equal(new Set(turns.map(({ agentId }) => agentId)).size, 6);
  });

  test('targets that one agent makes up do not let the others go first', () => {
    const liar = Array.from({ length: 200 }, (_, index) => member('n0', { target: `t${index}` }));
    const others = names.slice(1).map((name) => member(name));
    assert.equal(decide([...liar, ...others], undefined).turns.length, 1);
    const pair = [...liar, member('n1')];
    assert.equal(decide(pair, undefined).turns.length, 1);
  });

  test('where each agent has many targets, all of them count', () => {
    const all = names.flatMap((name) =>
      ['a', 'b', 'c'].map((target) => member(name, { target, share: 0.5 })),
    );
    assert.equal(decide(all, undefined).turns.length, 15);
  });

  test('waits for the proof and for the time of observation before the rest gets its turn', () => {
    const { with_, round } = afterFirst();
    const proving = decide(with_({ state: 'proving', served: '2-bb' }), round, { now: 5 });
    assert.deepEqual([proving.turns, proving.hold], [[], { kind: 'proving' }]);
    const proven = with_({ state: 'proven', heardAt: 10 });
    const observed = decide(proven, proving.round, { now: 69 });
    assert.deepEqual([observed.turns, observed.hold], [[], { kind: 'observing', until: 70 }]);
    const rest = decide(proven, observed.round, { now: 70 });
    assert.equal(rest.turns.length, 9);
    assert.ok(rest.turns.every(({ part }) => part === 'rest'));
    const all = names.map((name) => member(name, { state: 'proven' }));
    assert.equal(decide(all, rest.round, { now: 71 }).round, undefined);
  });

  test('a set that is served is no proof before the agent says so', () => {
    const { with_, round } = afterFirst();
    for (const state of ['staged', 'applying', 'proving', 'waiting'] as const)
      assert.deepEqual(decide(with_({ state, served: '2-bb' }), round, { now: 100 }).turns, []);
    const other = decide(with_({ state: 'proven', served: '1-aa' }), round, { now: 100 });
    assert.deepEqual(other.turns, []);
  });

  for (const state of ['rolling-back', 'rolled-back', 'failed'] as const)
    test(`a canary in the state ${state} holds the rest, and is named`, () => {
      const { with_, round, canary } = afterFirst();
      const held = decide(with_({ state }), round, { now: 1_000_000 });
      assert.deepEqual(held.turns, []);
      assert.ok(held.hold?.kind === 'canary');
      assert.deepEqual(
        held.hold.failed.map(({ agentId }) => nameOf(agentId)),
        [canary],
      );
      const away = decide(with_({ state, connected: false }), held.round, { now: 1_000_001 });
      assert.equal(away.hold?.kind, 'canary', 'that it is away does not end it');
    });

  test('a canary whose set is off the disk after its way back holds the rest', () => {
    const { with_, round } = afterFirst();
    assert.equal(decide(with_({ state: 'rolled-back', set: '1-aa' }), round).hold?.kind, 'canary');
  });

  test('a set that was refused before it was served has failed as well', () => {
    const { with_, round, canary } = afterFirst();
    const refused = { state: 'proven', set: '1-aa', reason: 'SET_INVALID: key' } as const;
    const held = decide(with_(refused), round);
    assert.ok(held.hold?.kind === 'canary');
    assert.deepEqual(
      held.hold.failed.map(({ agentId, reason }) => [nameOf(agentId), reason]),
      [[canary, 'SET_INVALID: key']],
    );
    assert.equal(decide(with_(refused), held.round, { now: 9 }).hold?.kind, 'canary');
    const checked = decide(with_({ state: 'proven', served: '1-aa' }), round);
    assert.deepEqual([checked.turns, checked.hold?.kind], [[], 'proving']);
  });

  test('a target whose certificate is about to end waits for nobody', () => {
    const all = (state: TargetState) =>
      names.map((name) =>
        member(
          name,
          name === canary ? { state, heardAt: 90 } : { notAfter: name === ending ? 125 : 1e9 },
        ),
      );
    const { canary } = afterFirst();
    const ending = names.find((name) => name !== canary) as string;
    const { round } = decide(all('staged'), undefined, { now: 99 });
    for (const state of ['failed', 'proving', 'proven'] as const) {
      assert.deepEqual(decide(all(state), round, { now: 99 }).turns, []);
      const { turns, hold } = decide(all(state), round, { now: 100 });
      assert.deepEqual(
        turns.map(({ agentId, part }) => [nameOf(agentId), part]),
        [[ending, 'rest']],
      );
      assert.notEqual(hold, undefined, 'the others wait on');
    }
  });

  test('a new set of the failed target, or its proof, ends the hold', () => {
    const { with_, round, canary } = afterFirst();
    const held = decide(with_({ state: 'failed' }), round);
    const again = decide(with_({ set: '3-cc' }), held.round);
    assert.deepEqual(
      again.turns.map(({ agentId, set, part }) => [nameOf(agentId), set, part]),
      [[canary, '3-cc', 'canary']],
    );
    assert.equal(decide(with_({ state: 'applying' }), held.round).hold?.kind, 'canary');
    const proven = decide(with_({ state: 'proven', heardAt: 5 }), held.round, { now: 5 });
    assert.notEqual(proven.hold?.kind, 'canary');
  });

  test('an operator who answers the failure ends the hold', () => {
    const { with_, round } = afterFirst();
    const failed = with_({ state: 'failed' });
    const held = decide(failed, round);
    assert.ok(held.hold?.kind === 'canary');
    const answered = held.hold.failed.map(turnKey);
    const on = decide(failed, held.round, { answered });
    assert.equal(on.turns.length, 1);
    assert.equal(decide(failed, undefined, { answered }).turns.length, 1);
  });

  test('a server that restarted learns of the failed canary from its agent', () => {
    const { with_ } = afterFirst();
    const turn = { set: '2-bb', part: 'canary' } as const;
    assert.equal(decide(with_({ state: 'failed', turn }), undefined).hold?.kind, 'canary');
    assert.equal(decide(with_({ state: 'failed' }), undefined).hold?.kind, 'proving');
    const byHand = with_({ state: 'rolled-back', waitsFor: 'hand', turn });
    assert.equal(decide(byHand, undefined).turns.length, 1, 'an operator took it back');
  });

  test('an agent that is away, or silent about its turn, is passed over', () => {
    const { with_, round, canary } = afterFirst();
    const away = decide(with_({ state: 'applying', connected: false }), round);
    assert.equal(away.turns.length, 1);
    assert.notEqual(nameOf(away.turns[0]?.agentId as string), canary);
    assert.deepEqual(decide(with_({}), round, { now: silentTurnSeconds }).turns, []);
    const silent = decide(with_({}), round, { now: silentTurnSeconds + 1 });
    assert.equal(silent.turns.length, 1);
    assert.notEqual(nameOf(silent.turns[0]?.agentId as string), canary);
  });

  test('an agent that comes back at once was not away', () => {
    const { with_, round } = afterFirst();
    for (const state of ['applying', 'proven'] as const) {
      const gone = with_({ state, connected: false, leftAt: 5, heardAt: 5 });
      const still = decide(gone, round, { now: 5 + awaySeconds });
      assert.deepEqual(still.turns, []);
      assert.equal(decide(gone, still.round, { now: 6 + awaySeconds }).turns.length, 1);
    }
    const waits = member('n0', { connected: false, leftAt: 0 });
    assert.deepEqual(decide([waits], undefined).turns, [], 'nothing is given meanwhile');
  });

  test('a proven canary that goes away is observed no more: another one takes its place', () => {
    const { with_, round } = afterFirst();
    const away = decide(with_({ state: 'proven', connected: false }), round, { now: 1000 });
    assert.deepEqual(
      away.turns.map(({ part }) => part),
      ['canary'],
    );
  });

  test('one configuration alone moves neither share nor observation', () => {
    const liar = member('n0', { share: 1, observe: 1e9 });
    const all = [liar, ...names.slice(1).map((name) => member(name))];
    const first = decide(all, undefined);
    assert.equal(first.turns.length, 1);
    const proven = all.map((each) =>
      each.agentId === first.turns[0]?.agentId
        ? member(nameOf(each.agentId), { state: 'proven', observe: 1e9 })
        : each,
    );
    assert.equal(decide(proven, first.round, { now: 60 }).turns.length, 9);
  });

  test('more failed handshakes than before hold the rest; those from before do not', () => {
    const nodes = (failed: number): NodeHandshakes[] =>
      names.map((agentId) => ({ agentId, succeeded: 100 - failed, failed }));
    const all = names.map((name) => member(name));
    const first = decide(all, undefined, { handshakes: nodes(20) });
    const canary = nameOf(first.turns[0]?.agentId as string);
    const proven = names.map((name) => member(name, name === canary ? { state: 'proven' } : {}));
    const worse = decide(proven, first.round, { now: 100, handshakes: nodes(30) });
    assert.equal(worse.hold?.kind, 'handshakes');
    assert.deepEqual(worse.turns, []);
    const same = decide(proven, worse.round, { now: 101, handshakes: nodes(20) });
    assert.equal(same.turns.length, 9);
    const liar = [{ agentId: 'liar', succeeded: 0, failed: 1000 }, ...nodes(20)];
    assert.equal(decide(proven, first.round, { now: 100, handshakes: liar }).turns.length, 9);
  });

  test('a target that waits for a hand, or not at all, gets no turn', () => {
    for (const waitsFor of ['hand', 'nothing'] as const)
      assert.deepEqual(decide([member('n0', { waitsFor })], undefined).turns, []);
  });

  test('whoever stages during the observation waits with the rest', () => {
    const first = decide([member('n0')], undefined);
    const proven = member('n0', { state: 'proven' });
    const late = decide([proven, member('n1')], first.round, { now: 30 });
    assert.deepEqual([late.turns, late.hold?.kind], [[], 'observing']);
    assert.equal(decide([proven, member('n1')], late.round, { now: 60 }).turns.length, 1);
    assert.equal(decide([proven], first.round, { now: 60 }).round, undefined);
  });
});

describe('a set that is staged while the rest has its turn', () => {
  /** Ten nodes; the canary was proven and watched, and the rest has its turn since 100. */
  function resting() {
    const { with_, round, canary } = afterFirst();
    const rest = decide(with_({ state: 'proven', heardAt: 10 }), round, { now: 100 });
    assert.equal(rest.turns.length, 9);
    return { canary, rest };
  }

  test('waits for the end of the round, and then goes by a first part of its own', () => {
    const { rest } = resting();
    const [liar = '', ...others] = names;
    // one agent is never done, and the others stage again
    const again = [
      member(liar, { state: 'proving', heardAt: 101 }),
      ...others.map((name) => member(name, { set: '3-cc', served: '2-bb', heardAt: 110 })),
    ];
    const held = decide(again, rest.round, { now: 120 });
    assert.deepEqual(held.turns, []);
    const silent = decide(again, held.round, { now: 100 + silentTurnSeconds + 1 });
    assert.deepEqual(
      silent.turns.map(({ part }) => part),
      ['canary'],
    );
  });

  test('of an agent that changes again and again keeps no round open', () => {
    const { rest } = resting();
    let { round } = rest;
    const [liar = '', ...others] = names;
    const done = others.map((name) => member(name, { state: 'proven', heardAt: 105 }));
    for (let number = 3; number < 6; number += 1) {
      const decision = decide(
        [member(liar, { set: `${number}-cc`, heardAt: 110 }), ...done],
        round,
        {
          now: 120 + number,
        },
      );
      assert.deepEqual(
        decision.turns.map(({ part }) => part),
        ['canary'],
      );
      ({ round } = decision);
    }
  });

  test('and is about to end waits for nobody', () => {
    const { rest } = resting();
    const [first = '', ...others] = names;
    const ending = { set: '3-cc', heardAt: 110, notAfter: 120 };
    const all = [
      member(first, ending),
      ...others.map((name) => member(name, { state: 'proving', heardAt: 101 })),
    ];
    assert.deepEqual(
      decide(all, rest.round, { now: 115 }).turns.map(({ set }) => set),
      ['3-cc'],
    );
  });
});

/** Agents that work, fail, go away and come back at random, under the real decision. */
function play(seed: number): void {
  const random = seeded(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const size = 2 + below(12);
  const share = below(11) / 10;
  const world = Array.from({ length: size }, (_, index) => ({
    ...{ name: `n${index}`, state: 'staged' as TargetState, number: 2, served: 1 },
    ...{ connected: true, heardAt: 0, bad: below(10) === 0 },
  }));
  let round: Round | undefined;
  for (let now = 0; now < 400; now += 1) {
    const members = world.map((node) =>
      member(node.name, {
        ...{ state: node.state, set: `${node.number}-bb`, served: `${node.served}-bb` },
        ...{ share, observe: 10, connected: node.connected, heardAt: node.heardAt },
      }),
    );
    const before = round;
    const decision = decide(members, round, { now });
    round = decision.round;
    const failedNow = members.some(
      ({ agentId, target }) =>
        before?.given.some((turn) => turn.agentId === agentId) === true &&
        ['rolling-back', 'rolled-back', 'failed'].includes(target.state),
    );
    if (failedNow) assert.deepEqual(decision.turns, [], `seed ${seed}: a turn beside a failure`);
    const connected = world.filter((node) => node.connected).length;
    const moving = (round?.given ?? []).filter(({ part }) => part === 'canary').length;
    if (round?.phase === 'canary')
      assert.ok(moving <= Math.max(1, Math.ceil(share * connected)) || decision.turns.length === 0);
    for (const turn of decision.turns) {
      const node = world.find(({ name }) => name === nameOf(turn.agentId));
      assert.ok(node?.connected && node.state === 'staged', `seed ${seed}: a turn for nobody`);
      Object.assign(node, { state: 'applying', served: node.number, heardAt: now });
    }
    for (const node of world) {
      const dice = below(40);
      if (node.state === 'applying' && dice < 10)
        Object.assign(node, { state: node.bad ? 'rolled-back' : 'proven', heardAt: now });
      else if (node.state === 'rolled-back' && dice === 0)
        Object.assign(node, { state: 'staged', number: node.number + 1, bad: false, heardAt: now });
      else if (dice === 39) node.connected = !node.connected && now < 300;
      if (now >= 300) node.connected = true;
    }
  }
  assert.ok(
    world.every(({ state }) => state === 'proven' || state === 'rolled-back'),
    `seed ${seed}: ${world.map(({ state }) => state).join()}`,
  );
}

test('model: no turn is given beside a failure, and in the end everybody had one', () => {
  for (let seed = 1; seed <= 300; seed += 1) play(seed);
});
