import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { isOneLine, silentLogger, type Logger } from '../../../../src/common/runtime/index.ts';
import { silentTurnSeconds } from '../../../../src/domain/index.ts';
import type { SyncMessage } from '../../../../src/services/index.ts';
import { Rollouts } from '../../../../src/services/targets/rollouts.ts';
import { TargetCommands } from '../../../../src/services/targets/target-commands.ts';
import type { StatedTarget } from '../../../../src/services/targets/target-report.ts';
import { TargetSessions } from '../../../../src/services/targets/target-sessions.ts';
import { TargetStates } from '../../../../src/services/targets/target-states.ts';
import { FakeClock } from '../../../support/agent.ts';

type Command = Extract<SyncMessage, { kind: 'target' }>;

const stated = (over: Partial<StatedTarget> = {}): StatedTarget => ({
  ...{ name: 'web', driver: 'nginx', state: 'staged', reason: '', next: '', since: 1 },
  ...{ spiffeId: 'spiffe://td/web', names: [], waitsFor: 'turn', turn: undefined },
  sets: [
    { name: '1-aa', serial: 'aa', notBefore: 0, notAfter: 4e9, current: true },
    { name: '2-bb', serial: 'bb', notBefore: 0, notAfter: 4e9, current: false },
  ],
  rollout: { group: 'edge', canaryShare: 0, observeSeconds: 60 },
  ...over,
});
const served = stated({
  state: 'proven',
  waitsFor: '',
  sets: [{ name: '2-bb', serial: 'bb', notBefore: 0, notAfter: 4e9, current: true }],
});

function world(logger: Logger = silentLogger) {
  const clock = new FakeClock();
  const states = new TargetStates(clock);
  const commands = new TargetCommands(clock);
  const store = { broken: false };
  const handshakes = {
    of: async () => {
      if (store.broken) throw new Error('the disk is gone');
      return [];
    },
  };
  const rollouts = new Rollouts({
    ...{ states, commands, clock, lyingShare: 0.25, logger },
    handshakes: handshakes as never,
  });
  /** Until what was reported so far is decided on. */
  const looked = async (): Promise<void> => {
    clock.advance(100);
    await rollouts.settled();
  };
  const sessions = new TargetSessions(states, commands);
  const sent: [string, Command][] = [];
  const open = (agent: string) => sessions.open(agent, (command) => sent.push([agent, command]));
  const report = (session: ReturnType<typeof open>, ...targets: StatedTarget[]) =>
    session.report({ snapshot: true, targets, removedNames: [] });
  return { store, clock, looked, states, commands, rollouts, sessions, sent, open, report };
}

test('time alone ends an observation', async () => {
  const { clock, looked, rollouts, sent, open, report } = world();
  const [a, b] = [open('a'), open('b')];
  report(a, stated());
  await looked();
  report(b, stated());
  const [[first, command]] = sent as [[string, Command]];
  assert.deepEqual(
    [first, command.act, command.turn],
    ['a', 'turn', { set: '2-bb', part: 'canary' }],
  );
  report(a, served);
  await looked();
  assert.equal(rollouts.groups()[0]?.hold?.kind, 'observing');
  clock.advance(59_000);
  await looked();
  assert.equal(sent.length, 1);
  clock.advance(6_000);
  await looked();
  assert.deepEqual(
    sent.map(([agent]) => agent),
    ['a', 'b'],
  );
});

test('a look that failed is made again after a while', async () => {
  const { store, clock, looked, sent, open, report } = world();
  const a = open('a');
  store.broken = true;
  report(a, stated());
  await looked();
  assert.equal(sent.length, 0);
  store.broken = false;
  clock.advance(5_000);
  await looked();
  assert.equal(sent.length, 1);
});

test('a target that leaves its group, or whose agent is banned, holds nobody', async () => {
  const { rollouts, looked, sessions, sent, open, report } = world();
  const turn = { set: '2-bb', part: 'canary' };
  for (const end of ['leaves', 'moves', 'banned'] as const) {
    const [a, b] = [open('a'), open('b')];
    const reason = end === 'moves' ? 'PROOF_MISSING: old serial' : 'MADE_UP: x';
    report(a, stated({ state: 'failed', reason, waitsFor: '', turn }));
    report(b, stated());
    sent.length = 0;
    await looked();
    assert.equal(rollouts.groups()[0]?.hold?.kind, 'canary');
    const code = end === 'moves' ? 'PROOF_MISSING' : 'ROLLED_BACK';
    assert.equal(rollouts.holding()[0]?.code, code);
    if (end === 'leaves') report(a);
    else if (end === 'banned') sessions.forget('a');
    else report(a, stated({ rollout: { group: 'other', canaryShare: 0, observeSeconds: 0 } }));
    await looked();
    assert.deepEqual(
      sent.filter(([agent]) => agent === 'b').map(([agent]) => agent),
      ['b'],
      end,
    );
    report(a);
    report(b);
    await looked();
  }
});

test('a turn that the agent refuses is not given again at once', async () => {
  const { clock, looked, sent, open, report } = world();
  const a = open('a');
  report(a, stated());
  await looked();
  const { commandId } = (sent[0] as [string, Command])[1];
  a.answered({ commandId, code: 'CONFLICT', message: 'another one', next: '' });
  await looked();
  clock.advance(50_000);
  await looked();
  assert.equal(sent.length, 1);
  clock.advance(15_000);
  await looked();
  assert.equal(sent.length, 2);
  const next = { name: '3-cc', serial: 'cc', notBefore: 0, notAfter: 4e9, current: false };
  report(a, stated({ sets: [next] }));
  await looked();
  assert.equal((sent[2] as [string, Command])[1].turn?.set, '3-cc');
});

test('an agent that never answers a command is given up after its time', async () => {
  const { clock, commands, open } = world();
  open('a');
  const { answer } = commands.send('a', 'web', { act: 'promote' });
  clock.advance(silentTurnSeconds * 1000 + 1);
  assert.equal((await answer)?.code, 'DEADLINE_EXCEEDED');
});

test('only the session that got a command answers it, and its end is an answer', async () => {
  const { commands, open } = world();
  const [a, b] = [open('a'), open('b')];
  const first = commands.send('a', 'web', { act: 'stage' });
  b.answered({ commandId: first.commandId, code: '', message: '', next: '' });
  const later = open('a');
  a.closed();
  assert.equal((await first.answer)?.code, 'AGENT_NOT_CONNECTED');
  const second = commands.send('a', 'web', { act: 'stage' });
  later.answered({ commandId: second.commandId, code: '', message: '', next: '' });
  assert.equal(await second.answer, undefined);
  assert.equal(
    (await commands.send('c', 'web', { act: 'stage' }).answer)?.code,
    'AGENT_NOT_CONNECTED',
  );
});

test('texts of an agent reach people without control characters, and no unknown code', async () => {
  const { commands, open } = world();
  const a = open('a');
  const { commandId, answer } = commands.send('a', 'web', { act: 'stage' });
  a.answered({ commandId, code: 'NO_SUCH', message: 'a\u001b[2Jb', next: 'c\nd' });
  const error = (await answer) as PkiError;
  assert.equal(error.code, 'CONFLICT');
  assert.ok(isOneLine(error.message) && isOneLine(error.next));
});

test('what is no report ends the stream, and changes nothing', () => {
  const { states, open, report } = world();
  const a = open('a');
  const code = (act: () => void): string => {
    try {
      act();
      return 'taken';
    } catch (thrown) {
      return PkiError.from(thrown).code;
    }
  };
  const changes = { snapshot: false, targets: [stated()], removedNames: [] };
  assert.equal(
    code(() => a.report(changes)),
    'INVALID_REQUEST',
  );
  const set = { name: '1-aa', serial: 'bb', notBefore: 0, notAfter: 4e9, current: true };
  const bad: readonly Partial<StatedTarget>[] = [
    { name: 'Web' },
    { name: '../etc' },
    { name: '' },
    { state: 'fine' },
    { reason: 'a\nb' },
    { next: 'x'.repeat(501) },
    { driver: 'x'.repeat(65) },
    { spiffeId: 'web' },
    { sets: [set] },
    { rollout: { group: 'a b', canaryShare: 0, observeSeconds: 0 } },
    { turn: { set: '2-bb', part: 'first' } },
  ];
  for (const over of bad)
    assert.notEqual(
      code(() => report(a, stated(over))),
      'taken',
      JSON.stringify(over),
    );
  const many = (count: number) =>
    Array.from({ length: count }, (_, index) => stated({ name: `t${index}` }));
  assert.equal(
    code(() => report(a, ...many(201))),
    'REQUEST_TOO_LARGE',
  );
  assert.deepEqual([...states.all()], []);
  report(a, ...many(200));
  assert.equal([...states.all()].length, 200);
  const odd = { canaryShare: Number.NaN, observeSeconds: -1, group: 'edge' };
  report(a, stated({ rollout: odd }));
  assert.deepEqual([...states.all()][0]?.target.rollout, {
    ...{ group: 'edge', canaryShare: 0, observeSeconds: 0 },
  });
});

test('a session that was replaced reports nothing any more, and its end leaves the new one', () => {
  const { states, open, report } = world();
  const a = open('a');
  report(a, stated());
  const later = open('a');
  assert.equal(states.get('a', 'web')?.connected, false);
  report(a, stated({ state: 'failed' }));
  report(later, served);
  a.closed();
  assert.deepEqual(
    [states.get('a', 'web')?.connected, states.get('a', 'web')?.target.state],
    [true, 'proven'],
  );
  later.closed();
  assert.deepEqual(
    [states.get('a', 'web')?.connected, states.get('a', 'web')?.target.state],
    [false, 'proven'],
  );
});

test('an agent with as many targets as it may have answers commands to all of them at once', () => {
  const { open, report } = world();
  const session = open('spiffe://td/meshca/agent/n1');
  const all = Array.from({ length: 200 }, (_, index) => stated({ name: `t${index}` }));
  report(session, ...all);
  const told = (): void => {
    for (const target of all)
      session.report({ snapshot: false, targets: [target], removedNames: [] });
  };
  told();
  told();
  assert.throws(told, { code: 'RATE_LIMITED' });
});

test('an agent that states another failure with each report fills no log', async () => {
  let lines = 0;
  const count = (): void => void (lines += 1);
  const { looked, open, report } = world({ ...silentLogger, warn: count, info: count });
  const a = open('a');
  for (let number = 10; number < 210; number += 1) {
    const turn = { set: `${number}-aa`, part: 'canary' };
    const all = Array.from({ length: 20 }, (_, index) => `t${index}`);
    const reason = 'PROOF_MISSING: old serial';
    report(a, ...all.map((name) => stated({ name, state: 'failed', reason, waitsFor: '', turn })));
    await looked();
    report(a);
    await looked();
  }
  assert.ok(lines >= 2 && lines <= 50 + 20, `${lines} lines in 40 s`);
});
