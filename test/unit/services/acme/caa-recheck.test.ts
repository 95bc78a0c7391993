import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { invalid, type CaaAsk } from '../../../../src/common/validation/index.ts';
import type { AcmeOrder, Authorization, AuditValue } from '../../../../src/domain/index.ts';
import { CaaRecheck } from '../../../../src/services/acme/caa-recheck.ts';
import type { Opinion } from '../../../../src/services/acme/vantage/corroborator.ts';
import { FakeClock } from '../../../support/agent.ts';

const hour = 3_600;
const allowed: Opinion = {
  ...{ judged: { ok: true, value: { seenAt: [] } }, perspectives: [], isShort: false },
};
const { signal } = new AbortController();

class World {
  readonly clock = new FakeClock();
  readonly asked: CaaAsk[] = [];
  readonly details: Readonly<Record<string, AuditValue>>[] = [];
  /** The order as it was written last. */
  noted: AcmeOrder | undefined;
  answer: (ask: CaaAsk) => Opinion = () => allowed;
  short: PkiError | undefined;
  readonly recheck: CaaRecheck;

  constructor(asksDns = true) {
    this.recheck = new CaaRecheck({
      corroborator: {
        shortfall: () => this.short,
        caa: (ask) => {
          this.asked.push(ask);
          return Promise.resolve(this.answer(ask));
        },
      },
      book: {
        change: (order, next, { detail = {} }) => {
          this.details.push(detail);
          this.noted = next(order) ?? order;
          return Promise.resolve(this.noted);
        },
      },
      accountUri: (id) => `https://ca.test/acme/account/${id}`,
      settings: { caaSeconds: 8 * hour, asksDns },
      clock: this.clock,
    });
  }

  shown(value: string, over: Partial<Authorization> = {}): Authorization {
    return {
      ...{ identifier: { type: 'dns', value }, wildcard: false, status: 'valid', token: 't' },
      ...{ shownBy: 'challenge', expiresAt: this.clock.now() + 86_400 },
      challenges: [
        { type: 'http-01', status: 'pending', validatedAt: null, problem: null },
        { type: 'dns-01', status: 'valid', validatedAt: this.clock.now(), problem: null },
      ],
      ...over,
    };
  }

  owned(value: string): Authorization {
    return this.shown(value, { shownBy: 'owner', challenges: [], token: '' });
  }
}

const order = (...authorizations: readonly Authorization[]): AcmeOrder =>
  ({
    ...{ id: '1', accountId: 'a1', stage: 'finalizing', version: 3 },
    authorizations,
  }) as AcmeOrder;

test('what was looked at within its time is not looked at again, and then it is', async () => {
  const world = new World();
  const { recheck, clock, asked, details } = world;
  const made = order(world.shown('www.test'));
  clock.advance((8 * hour - 1) * 1_000);
  assert.equal(recheck.isDue(made), false);
  clock.advance(1_000);
  assert.equal(recheck.isDue(made), true);
  const checked = await recheck.check(made, signal);
  assert.ok(checked.ok);
  assert.deepEqual(asked, [
    {
      ...{ name: 'www.test', wildcard: false, method: 'dns-01' },
      accountUri: 'https://ca.test/acme/account/a1',
    },
  ]);
  assert.equal(checked.value.authorizations[0]?.caaAt, clock.now());
  assert.equal(recheck.isDue(checked.value), false);
  assert.deepEqual(details, [{ names: ['www.test'] }]);
  clock.advance(8 * hour * 1_000);
  assert.equal(recheck.isDue(checked.value), true);
});

test('a name of an owner is looked at before each certificate, where DNS servers are configured', async () => {
  const world = new World();
  const made = order(world.owned('own.test'));
  assert.equal(world.recheck.isDue(made), true);
  const checked = await world.recheck.check(made, signal);
  assert.ok(checked.ok);
  assert.equal(world.asked[0]?.method, 'ca-owner');
  assert.equal(world.recheck.isDue(checked.value), false);
  assert.equal(new World(false).recheck.isDue(made), false);
});

test('an address has no CAA records', () => {
  const world = new World();
  const address = world.shown('10.0.0.1', { identifier: { type: 'ip', value: '10.0.0.1' } });
  world.clock.advance(9 * hour * 1_000);
  assert.equal(world.recheck.isDue(order(address)), false);
});

test('one name that is forbidden refuses all, and nothing is noted', async () => {
  const world = new World();
  world.answer = ({ name }) =>
    name === 'n7.test' ? { ...allowed, judged: invalid('caa', `${name} forbids it`) } : allowed;
  const names = Array.from({ length: 20 }, (_, index) => world.owned(`n${index}.test`));
  const checked = await world.recheck.check(order(...names), signal);
  assert.ok(!checked.ok);
  assert.equal(checked.error.code, 'ACME_CAA_REFUSED');
  assert.match(checked.error.message, /n7\.test forbids it/);
  assert.deepEqual(world.details, []);
});

test('too few vantage agents are no refusal, and what they saw is on record', async () => {
  const world = new World();
  const west = { name: 'west', result: 'agreed', code: '', seenAt: [] } as const;
  const made = order(world.owned('own.test'));
  world.answer = () => ({
    ...{ judged: invalid('serverInternal', 'too few'), perspectives: [west], isShort: true },
  });
  const short = await world.recheck.check(made, signal);
  assert.equal(short.ok ? '' : short.error.code, 'ACME_VANTAGE_SHORT');
  world.answer = () => ({ ...allowed, perspectives: [west] });
  assert.ok((await world.recheck.check(made, signal)).ok);
  assert.deepEqual(world.details, [
    { names: ['own.test'], perspectives: ['own.test west agreed'] },
  ]);
});

test('what was looked at before a shortfall counts, and the next try asks for the others', async () => {
  const world = new World();
  const names = Array.from({ length: 12 }, (_, index) => world.owned(`n${index}.test`));
  const shortJudgement = { judged: invalid('serverInternal', 'too few'), isShort: true };
  world.answer = ({ name }) => (name === 'n9.test' ? { ...allowed, ...shortJudgement } : allowed);
  const made = order(...names);
  const first = await world.recheck.check(made, signal);
  assert.equal(first.ok ? '' : first.error.code, 'ACME_VANTAGE_SHORT');
  const [noted] = world.details;
  assert.ok(noted);
  assert.equal((noted['names'] as readonly string[]).length, 11);
  world.answer = () => allowed;
  world.asked.length = 0;
  assert.ok((await world.recheck.check(world.noted ?? made, signal)).ok);
  assert.deepEqual(
    world.asked.map(({ name }) => name),
    ['n9.test'],
  );
});

test('nobody is asked while too few vantage agents are connected', async () => {
  const world = new World();
  world.short = new PkiError('ACME_VANTAGE_SHORT', 'no agent is connected for west');
  const checked = await world.recheck.check(order(world.owned('own.test')), signal);
  assert.equal(checked.ok ? '' : checked.error.code, 'ACME_VANTAGE_SHORT');
  assert.deepEqual(world.asked, []);
});

test('an order that has ended meanwhile stays as it is', async () => {
  const world = new World();
  const ended = { ...order(world.owned('own.test')), stage: 'failed' } as const;
  const checked = await world.recheck.check(ended, signal);
  assert.ok(checked.ok);
  assert.equal(checked.value.authorizations[0]?.caaAt, undefined);
});
