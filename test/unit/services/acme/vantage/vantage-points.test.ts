import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { parseSelector, selectorText } from '../../../../../src/common/spiffe/index.ts';
import type { Agent, Proven } from '../../../../../src/domain/index.ts';
import {
  VantageAgents,
  type VantageSession,
} from '../../../../../src/services/acme/vantage/vantage-agents.ts';
import {
  perspectiveOf,
  VantagePoints,
  type Round,
  type VantagePointSettings,
} from '../../../../../src/services/acme/vantage/vantage-points.ts';
import type {
  StatedResult,
  VantageAsk,
  VantageTask,
} from '../../../../../src/services/acme/vantage/vantage-task.ts';
import { FakeClock } from '../../../../support/agent.ts';

const selector = (text: string) => unwrap(parseSelector(text));
const id = (name: string): string => `spiffe://mesh.test/meshca/agent/${name}`;
const agent = (name: string, selectors: readonly string[] = []): Proven<Agent> =>
  ({ spiffeId: id(name), selectors: selectors.map(selector) }) as unknown as Proven<Agent>;
const ask: Omit<VantageAsk, 'timeoutSeconds'> = {
  ...{ challenge: 'http-01', identifier: { type: 'dns', value: 'www.test' }, wildcard: false },
  ...{ token: 'token', keyAuthorization: 'token.thumb', accountUri: 'https://ca.test/1' },
  ...{ caaMethod: '', caaIdentities: ['ca.test'] },
};
const stated = (taskId: string, over: Partial<StatedResult> = {}): StatedResult => ({
  ...{ taskId, result: 'agreed', code: '', seenAt: ['10.0.0.1 port 80'], ...over },
});
const denied = { result: 'disagreed', code: 'unauthorized' } as const;

/** An agent with a session: what it was sent, and how it answers. */
class Seat {
  readonly tasks: VantageTask[] = [];
  readonly session: VantageSession;

  constructor(agents: VantageAgents, name: string, selectors: readonly string[] = []) {
    this.session = agents.open(agent(name, selectors), (task) => this.tasks.push(task) > 0);
  }

  get taskId(): string {
    return this.tasks.at(-1)?.taskId ?? 'none';
  }

  say(over: Partial<StatedResult> = {}): void {
    this.session.answered(stated(this.taskId, over));
  }
}

class World {
  readonly clock = new FakeClock();
  #drawn = 0;
  chance = 0;
  readonly agents = new VantageAgents({
    random: {
      bytes: (length) => Buffer.alloc(length, (this.#drawn += 1)),
      uniform: () => this.chance,
    },
  });
  readonly seen: string[] = [];
  readonly points: VantagePoints;

  constructor(settings: Partial<VantagePointSettings> = {}) {
    this.points = new VantagePoints({
      agents: this.agents,
      settings: {
        perspectives: ['west', 'east', 'north'].map((name) => ({ name, agentId: id(name) })),
        ...{ disagreeing: 1, timeoutSeconds: 20, ...settings },
      },
      observe: (name, result) => this.seen.push(`${name} ${result}`),
      clock: this.clock,
    });
  }

  seat(name: string, selectors?: readonly string[]): Seat {
    return new Seat(this.agents, name, selectors);
  }

  begin(): Promise<Round> {
    return this.points.ask(ask, new AbortController().signal);
  }
}
const alone = { perspectives: [{ name: 'west', agentId: id('west') }], disagreeing: 0 };
/** Lets what is resolved run. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const resultsOf = ({ perspectives }: Round): readonly string[] =>
  perspectives.map(({ name, result, code }) => `${name} ${result}${code === '' ? '' : ` ${code}`}`);

describe('vantage agents', () => {
  it('are asked at once, each by a task of its own, and decide together', async () => {
    const world = new World();
    const seats = ['west', 'east', 'north'].map((name) => world.seat(name));
    const round = world.begin();
    assert.equal(new Set(seats.map(({ taskId }) => taskId)).size, 3);
    assert.deepEqual(seats[0]?.tasks, [{ ...ask, timeoutSeconds: 20, taskId: seats[0]?.taskId }]);
    for (const seat of seats) seat.say();
    const { corroboration, perspectives } = await round;
    assert.equal(corroboration, 'corroborated');
    assert.deepEqual(perspectives[0], {
      ...{ name: 'west', result: 'agreed', code: '', seenAt: ['10.0.0.1 port 80'] },
    });
    assert.deepEqual(world.seen, ['west agreed', 'east agreed', 'north agreed']);
  });

  it('who see something else decide where they are too many', async () => {
    const world = new World();
    const [west, east, north] = ['west', 'east', 'north'].map((name) => world.seat(name));
    const round = world.begin();
    west?.say(denied);
    east?.say({ ...denied, code: 'connection' });
    north?.say();
    const judged = await round;
    assert.equal(judged.corroboration, 'contradicted');
    assert.deepEqual(resultsOf(judged), [
      ...['west disagreed unauthorized', 'east disagreed connection', 'north agreed'],
    ]);
  });

  it('that are silent are absent when their time is over, and nothing follows', async () => {
    const world = new World();
    const west = world.seat('west');
    world.seat('east');
    const round = world.begin();
    west.say();
    world.clock.advance(20_000);
    const judged = await round;
    assert.equal(judged.corroboration, 'short');
    assert.deepEqual(resultsOf(judged), [
      ...['west agreed', 'east absent silent', 'north absent not-connected'],
    ]);
  });

  it('have a moment more to be on record once it is decided', async () => {
    const world = new World();
    const [west, east, north] = ['west', 'east', 'north'].map((name) => world.seat(name));
    const first = world.begin();
    west?.say();
    east?.say();
    await settle();
    world.clock.advance(999);
    north?.say(denied);
    assert.deepEqual(resultsOf(await first).at(-1), 'north disagreed unauthorized');
    const second = world.begin();
    west?.say();
    east?.say();
    await settle();
    world.clock.advance(1_000);
    const judged = await second;
    assert.equal(judged.corroboration, 'corroborated');
    assert.deepEqual(resultsOf(judged).at(-1), 'north absent silent');
  });

  it('look at four challenges of one account at a time, and the others wait for their turn', async () => {
    const world = new World(alone);
    const west = world.seat('west');
    const { signal } = new AbortController();
    const tarpit = () => world.points.ask({ ...ask, accountUri: 'https://ca.test/2' }, signal);
    const rounds = Array.from({ length: 30 }, tarpit);
    assert.equal(west.tasks.length, 4);
    // others are asked for at once
    const other = world.begin();
    assert.equal(west.tasks.length, 5);
    west.say();
    assert.equal((await other).corroboration, 'corroborated');
    for (const sent of [9, 13]) {
      world.clock.advance(20_000);
      await settle();
      assert.equal(west.tasks.length, sent);
    }
    // the time of those that waited begins with their turn
    for (const { taskId } of west.tasks.slice(-4)) west.session.answered(stated(taskId));
    const judged = await Promise.all(rounds.slice(0, 12));
    assert.deepEqual(
      judged.map(({ corroboration }) => corroboration),
      [...Array<string>(8).fill('short'), ...Array<string>(4).fill('corroborated')],
    );
    await settle();
    assert.equal(west.tasks.length, 17);
    west.session.closed();
    assert.equal((await Promise.all(rounds)).at(-1)?.corroboration, 'short');
  });

  it('keep the place of an account while one of them is still at it, until the end of its time', async () => {
    const world = new World();
    const [west, east, north] = ['west', 'east', 'north'].map((name) => world.seat(name));
    const ended = new AbortController();
    const begin = () => world.points.ask(ask, ended.signal);
    const rounds = Array.from({ length: 4 }, begin);
    for (const seat of [west, east])
      for (const { taskId } of seat?.tasks ?? []) seat?.session.answered(stated(taskId));
    await settle();
    world.clock.advance(1_000);
    assert.ok((await Promise.all(rounds)).every((each) => each.corroboration === 'corroborated'));
    const late = begin();
    const cut = begin();
    await settle();
    world.clock.advance(18_999);
    await settle();
    assert.equal(north?.tasks.length, 4);
    world.clock.advance(1);
    await settle();
    assert.equal(north?.tasks.length, 6);
    const waiting = [begin(), begin(), begin()];
    ended.abort();
    for (const round of [late, cut, ...waiting]) assert.equal((await round).corroboration, 'short');
    assert.equal(north?.tasks.length, 8);
  });

  it('are nobody without a session, and a validation is not begun without enough of them', () => {
    const world = new World();
    assert.equal(world.points.shortfall()?.code, 'ACME_VANTAGE_SHORT');
    const west = world.seat('west');
    assert.match(world.points.shortfall()?.message ?? '', /2 vantage agents .* for east, north$/);
    world.seat('other');
    world.agents.open(agent('north'), undefined);
    assert.equal(world.points.shortfall()?.code, 'ACME_VANTAGE_SHORT');
    world.seat('east');
    assert.equal(world.points.shortfall(), undefined);
    west.session.closed();
    assert.equal(world.points.shortfall()?.code, 'ACME_VANTAGE_SHORT');
  });

  it('are not needed where the configuration names none', () => {
    const { points } = new World({ perspectives: [], disagreeing: 0 });
    assert.deepEqual([points.isOn, points.shortfall()], [false, undefined]);
  });
});

describe('the answer of an agent counts', () => {
  it('never, if the configuration does not name it: it gets no task', async () => {
    const world = new World({ disagreeing: 0 });
    const seats = ['west', 'east', 'north'].map((name) => world.seat(name));
    const other = world.seat('other');
    const round = world.begin();
    assert.deepEqual(other.tasks, []);
    for (const { taskId } of seats) other.session.answered(stated(taskId, denied));
    for (const seat of seats) seat.say();
    assert.equal((await round).corroboration, 'corroborated');
  });

  it('for its own task alone, and once', async () => {
    const world = new World({ disagreeing: 0 });
    const [west, east, north] = ['west', 'east', 'north'].map((name) => world.seat(name));
    const round = world.begin();
    // it answers for all others
    for (const seat of [east, north]) west?.session.answered(stated(seat?.taskId ?? ''));
    west?.session.answered(stated('AAAAAAAAAAAAAAAAAAAAAA'));
    west?.say(denied);
    west?.say();
    world.clock.advance(20_000);
    const judged = await round;
    assert.equal(judged.corroboration, 'contradicted');
    assert.deepEqual(resultsOf(judged), [
      ...['west disagreed unauthorized', 'east absent silent', 'north absent silent'],
    ]);
  });

  it('no more once the validation is over', async () => {
    const world = new World(alone);
    const west = world.seat('west');
    const round = world.begin();
    const old = west.taskId;
    world.clock.advance(20_000);
    assert.equal((await round).corroboration, 'short');
    const next = world.begin();
    west.session.answered(stated(old));
    world.clock.advance(20_000);
    assert.equal((await next).corroboration, 'short');
  });

  it('in the session that got the task alone, not in a later one of the same agent', async () => {
    const world = new World(alone);
    const before = world.seat('west');
    const round = world.begin();
    const { taskId } = before;
    const after = world.seat('west');
    after.session.answered(stated(taskId));
    before.session.closed();
    before.session.answered(stated(taskId));
    const judged = await round;
    assert.deepEqual(resultsOf(judged), ['west absent not-connected']);
    assert.equal(world.points.shortfall(), undefined);
  });

  it('no more once the agent is banned, even where it had answered', async () => {
    const world = new World({ disagreeing: 1 });
    const [west, east, north] = ['west', 'east', 'north'].map((name) => world.seat(name));
    const round = world.begin();
    west?.say();
    await settle();
    world.agents.forget(id('west'));
    west?.session.closed();
    east?.say();
    north?.say(denied);
    const judged = await round;
    assert.equal(judged.corroboration, 'short');
    assert.equal(resultsOf(judged)[0], 'west absent not-connected');
    const next = world.begin();
    assert.equal(west?.tasks.length, 1);
    world.clock.advance(20_000);
    await next;
  });

  for (const [what, over] of [
    ['of another kind', { result: 'valid' }],
    ['without one', { result: '' }],
    ['with an unknown problem', { result: 'disagreed', code: 'all is well' }],
    ['with an unknown reason', { result: 'absent', code: 'SECRET' }],
  ] as const)
    it(`not, if it is a result ${what}`, async () => {
      const world = new World(alone);
      const west = world.seat('west');
      const round = world.begin();
      west.say(over);
      const judged = await round;
      assert.equal(judged.corroboration, 'short');
      assert.deepEqual(resultsOf(judged), ['west absent malformed']);
    });

  it('as one line each of what it has seen, and eight of them', async () => {
    const world = new World(alone);
    const west = world.seat('west');
    const round = world.begin();
    west.say({ seenAt: Array.from({ length: 50 }, () => `a\nb${'c'.repeat(9_000)}\ud800`) });
    const [seen] = (await round).perspectives;
    assert.equal(seen?.seenAt.length, 8);
    assert.ok(seen?.seenAt.every((text) => text.length <= 256 && !text.includes('\n')));
  });
});

describe('a place in the network', () => {
  const perspectives = [
    { name: 'racks', selectors: ['x509pop:site:west', 'x509pop:kind:rack'] },
    { name: 'west', agentId: id('west') },
    { name: 'all', selectors: ['x509pop:kind:rack'] },
  ];
  const placeOf = (name: string, selectors: readonly string[] = []): string | undefined =>
    perspectiveOf(
      {
        agentId: id(name),
        selectors: new Set(selectors.map((text) => selectorText(selector(text)))),
      },
      perspectives,
    );

  it('has the agent that it names, or those whose nodes have all its selectors', () => {
    assert.equal(placeOf('west'), 'west');
    assert.equal(placeOf('a', ['x509pop:site:west', 'x509pop:kind:rack']), 'racks');
    assert.equal(placeOf('a', ['x509pop:kind:rack']), 'all');
    assert.equal(placeOf('a', ['x509pop:site:west']), undefined);
    assert.equal(placeOf('a'), undefined);
  });

  it('shares no agent with another one, and an ID comes first', () => {
    assert.equal(placeOf('west', ['x509pop:site:west', 'x509pop:kind:rack']), 'west');
  });

  it('is looked at from one of its agents, by chance', async () => {
    const world = new World({
      perspectives: [{ name: 'racks', selectors: ['x509pop:kind:rack'] }],
      disagreeing: 0,
    });
    const seats = ['a', 'b'].map((name) => world.seat(name, ['x509pop:kind:rack']));
    for (const chance of [0, 0.99]) {
      world.chance = chance;
      const round = world.begin();
      const asked = seats.filter(({ tasks }) => tasks.length > 0);
      assert.equal(asked.length, chance === 0 ? 1 : 2);
      asked.at(-1)?.say();
      assert.equal((await round).corroboration, 'corroborated');
    }
  });
});

it('an agent has a bound of tasks without an answer, and others go on', async () => {
  const world = new World();
  const seat = world.seat('west');
  const over = new AbortController();
  const all = Array.from({ length: 70 }, () =>
    world.agents.ask(id('west'), { ...ask, timeoutSeconds: 20 }, over.signal),
  );
  assert.equal(seat.tasks.length, 64);
  over.abort();
  const codes = (await Promise.all(all)).map(({ code }) => code);
  assert.equal(codes.filter((code) => code === 'overloaded').length, 6);
  assert.equal(codes.filter((code) => code === 'silent').length, 64);
  const more = world.agents.ask(
    id('west'),
    { ...ask, timeoutSeconds: 20 },
    new AbortController().signal,
  );
  seat.say();
  assert.equal((await more).result, 'agreed');
});
