import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import type { AuditEvent } from '../../../../src/domain/index.ts';
import { AgentDoubles } from '../../../../src/services/agents/agent-doubles.ts';
import { FakeClock } from '../../../support/agent.ts';

const agent = 'spiffe://td/meshca/agent/n1';

function world() {
  const clock = new FakeClock();
  const events: AuditEvent[] = [];
  const counted: string[] = [];
  /** What happens while a record is being written. */
  const meanwhile = { act: (): void => {} };
  const doubles = new AgentDoubles({
    audit: {
      append: async (list) => {
        events.push(...list);
        await Promise.resolve();
        meanwhile.act();
      },
    },
    clock,
    logger: silentLogger,
    onDouble: (how) => void counted.push(how),
  });
  let port = 0;
  const hello = (id: string, serial = 'a', peer = `192.0.2.1:${++port}`) =>
    doubles.hello(agent, { id, peer, version: '1', serial });
  return { clock, events, counted, doubles, hello, meanwhile };
}

test('a process that goes on with its next SVID, reconnects or is restarted is no double', async () => {
  const { doubles, events, hello } = world();
  const first = await hello('x', 'a', '192.0.2.1:1');
  await hello('x', 'b', '192.0.2.1:2');
  doubles.gone(agent, first);
  assert.equal(doubles.held(agent), true, 'the end of its earlier stream ends nothing');
  assert.equal(
    await doubles.olderCertificate(agent, { serial: 'a', peer: '192.0.2.1:1' }),
    'hand-over',
  );
  const restarted = await hello('y', 'b');
  doubles.gone(agent, restarted);
  await hello('y', 'b');
  assert.deepEqual(events, []);
  assert.equal(doubles.of(agent), undefined);
});

test('of two that live the first met keeps the session, the other is refused, and one alert tells it', async () => {
  const { doubles, events, counted, hello } = world();
  await hello('x');
  await hello('y');
  await hello('x');
  for (let tries = 0; tries < 3; tries += 1)
    await assert.rejects(hello('y'), { code: 'AGENT_DOUBLED' });
  assert.deepEqual(new Set(counted), new Set(['second-connection']));
  assert.equal(events.length, 2, 'once from the side of each');
  assert.ok(events.every(({ kind }) => kind === 'agent.doubled'));
  const seen = doubles.of(agent);
  assert.equal(seen?.times, 4);
  assert.deepEqual(
    seen?.instances.map(({ id, connected }) => [id, connected]),
    [
      ['x', true],
      ['y', false],
    ],
  );
});

test('the refused one gets the session when the other is gone', async () => {
  const { doubles, hello } = world();
  await hello('x');
  await hello('y');
  const back = await hello('x');
  await assert.rejects(hello('y'), { code: 'AGENT_DOUBLED' });
  doubles.gone(agent, back);
  await hello('y');
});

test('an operator decides for either, and the other gets no session any more', async () => {
  for (const [kept, other] of [
    ['x', 'y'],
    ['y', 'x'],
  ] as const) {
    const { doubles, hello } = world();
    await hello('x');
    await hello('y');
    await hello('x');
    assert.equal(doubles.find(agent, kept).id, kept);
    const rivals = doubles.rivals(agent, kept);
    assert.deepEqual(rivals, [other]);
    assert.ok(doubles.of(agent), 'who reads the rivals has decided nothing');
    assert.doesNotThrow(() => doubles.admit(agent, other));
    doubles.keep(agent, kept, rivals);
    assert.equal(doubles.of(agent), undefined);
    await assert.rejects(hello(other), { code: 'AGENT_SUPERSEDED' });
    await hello(kept);
    assert.throws(() => doubles.find(agent, 'zz'), { code: 'NOT_FOUND' });
  }
});

test('a process whose stream ended before its next SVID was used hands over all the same', async () => {
  const { doubles, events, hello } = world();
  const first = await hello('x', 'a', '192.0.2.1:1');
  doubles.gone(agent, first);
  await hello('x', 'b', '192.0.2.1:2');
  const shown = (peer: string) => doubles.olderCertificate(agent, { serial: 'a', peer });
  assert.equal(await shown('192.0.2.1:1'), 'hand-over');
  assert.deepEqual(events, []);
  assert.equal(await shown('192.0.2.9:1'), 'new', 'over another connection it is none');
});

test('who gets the session is decided by what holds after the alert is on record', async () => {
  const { doubles, hello, meanwhile } = world();
  const first = await hello('x');
  await hello('y');
  const back = await hello('x');
  assert.notEqual(back, first);
  meanwhile.act = () => doubles.gone(agent, back);
  await hello('y');
  assert.equal(doubles.find(agent, '').id, 'y', 'the other ended meanwhile');

  const decided = world();
  await decided.hello('x');
  await decided.hello('y');
  decided.meanwhile.act = () =>
    decided.doubles.keep(agent, 'y', decided.doubles.rivals(agent, 'y'));
  await assert.rejects(decided.hello('x'), { code: 'AGENT_SUPERSEDED' });
  assert.equal(decided.doubles.find(agent, '').id, 'y', 'an operator decided meanwhile');
});

test('a decision is against those on its record, and against nobody that came since', async () => {
  const { doubles, hello } = world();
  await hello('x');
  await hello('y');
  const rivals = doubles.rivals(agent, 'x');
  await hello('z');
  doubles.keep(agent, 'x', rivals);
  await assert.rejects(hello('y'), { code: 'AGENT_SUPERSEDED' });
  await hello('z');
});

test('an older certificate is on record once a day, and each sight is counted', async () => {
  const { clock, doubles, events, counted } = world();
  const shown = () => doubles.olderCertificate(agent, { serial: 'a', peer: '192.0.2.9:1' });
  assert.equal(await shown(), 'new');
  assert.equal(await shown(), 'told');
  clock.advance(25 * 3600_000);
  assert.equal(await shown(), 'new');
  assert.equal(events.length, 2);
  assert.equal(counted.length, 3);
});
