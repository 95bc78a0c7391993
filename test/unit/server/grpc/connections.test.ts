import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { Connections } from '../../../../src/server/grpc/connections.ts';
import type { Caller } from '../../../../src/services/callers/caller.ts';
import type { Callers } from '../../../../src/services/services.ts';
import { FakeClock, settle } from '../../../support/agent.ts';

const callers = { onEnded: () => () => {} } as unknown as Callers;
/** Far above how long connections take to close and the time of the guests in these tests. */
const laterMs = 600;
const socket = (): Duplex & { bytesRead?: number } =>
  new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      done();
    },
  });
const calls = { perConnection: 2, perHolder: 3, inAll: 4 };
const anonymous = Promise.resolve<Caller>({ class: 'anonymous', peer: 'x' });
const agentOf = (spiffeId: string): Promise<Caller> =>
  Promise.resolve({
    class: 'agent',
    kind: 'agent',
    spiffeId,
    serial: '01',
    notAfter: new FakeClock().now() + 3600,
    authorityId: 'a',
    entryId: null,
    peer: 'x',
    generation: 1,
  });

test('beyond the limit of guests the oldest is closed, and agents are no guests', async () => {
  const clock = new FakeClock();
  const connections = new Connections(callers, clock, {
    connections: 2,
    seconds: 60,
    bytes: 1000,
    calls,
  });
  const agent = socket();
  connections.add({
    socket: agent,
    peer: 'a',
    holder: 'a',
    caller: agentOf('spiffe://td/meshca/agent/a'),
  });
  await settle();
  const strangers = [socket(), socket(), socket()];
  for (const each of strangers)
    connections.add({ socket: each, peer: 's', holder: 's', caller: anonymous });
  await settle();
  clock.advance(laterMs);
  assert.deepEqual(
    [agent, ...strangers].map(({ destroyed }) => destroyed),
    [false, true, false, false],
  );
  for (const each of [agent, ...strangers]) each.destroy();
  await settle();
  assert.equal(connections.size, 0);
});

test('a guest is closed after its time or its bytes; a refused caller is a guest', async () => {
  const clock = new FakeClock();
  const connections = new Connections(callers, clock, {
    connections: 10,
    seconds: 60,
    bytes: 1000,
    calls,
  });
  const [lingering, chatty, refused, agent] = [socket(), socket(), socket(), socket()];
  const no = Promise.reject<Caller>(new Error('no'));
  no.catch(() => {});
  connections.add({
    socket: lingering,
    peer: 's',
    holder: 's',
    caller: anonymous,
    guestSeconds: 0.05,
  });
  connections.add({ socket: chatty, peer: 's', holder: 's', caller: anonymous });
  connections.add({ socket: refused, peer: 's', holder: 's', caller: no, guestSeconds: 0.05 });
  connections.add({
    socket: agent,
    peer: 'a',
    holder: 'a',
    caller: agentOf('spiffe://td/meshca/agent/a'),
    guestSeconds: 0.05,
  });
  chatty.bytesRead = 1001;
  agent.bytesRead = 1_000_000;
  await settle();
  clock.advance(laterMs);
  assert.deepEqual(
    [lingering, chatty, refused, agent].map(({ destroyed }) => destroyed),
    [true, true, true, false],
  );
  agent.destroy();
});

test('one identity holds a bounded number of connections', async () => {
  const clock = new FakeClock();
  const connections = new Connections(callers, clock);
  const sockets = Array.from({ length: 18 }, socket);
  for (const each of sockets)
    connections.add({
      socket: each,
      peer: 'a',
      holder: 'a',
      caller: agentOf('spiffe://td/meshca/agent/a'),
    });
  await settle();
  clock.advance(laterMs);
  assert.deepEqual(
    sockets.map(({ destroyed }, index) => (destroyed ? index : -1)).filter((index) => index >= 0),
    [0, 1],
  );
  for (const each of sockets) each.destroy();
  await settle();
  connections.closeAll(new Error('end') as never);
});

test('who comes from elsewhere is no victim of an address that has many guests', async () => {
  const clock = new FakeClock();
  const limits = { connections: 3, seconds: 60, bytes: 1000, calls };
  const connections = new Connections(callers, clock, limits);
  const honest = socket();
  const greedy = Array.from({ length: 6 }, socket);
  connections.add({ socket: honest, peer: 'h', holder: 'h', caller: anonymous });
  for (const each of greedy)
    connections.add({ socket: each, peer: 'g', holder: 'g', caller: anonymous });
  await settle();
  clock.advance(laterMs);
  assert.deepEqual(
    [honest, ...greedy].map(({ destroyed }) => destroyed),
    [false, true, true, true, true, false, false],
  );
  for (const each of [honest, ...greedy]) each.destroy();
  await settle();
});

test('calls of guests are bounded by connection, address and in all; those of agents are not', async () => {
  const connections = new Connections(callers, new FakeClock(), {
    ...{ connections: 100, seconds: 60, bytes: 1000, calls },
  });
  const of = (holder: string, caller = anonymous): string =>
    connections.add({ socket: socket(), peer: holder, holder, caller }).key;
  const ended: string[] = [];
  const enter = async (name: string, key: string): Promise<() => void> => {
    const leave = connections.enterCall(key, ({ code }) => ended.push(`${name} ${code}`));
    await settle();
    return leave;
  };
  const one = of('greedy');
  const leave = await enter('1', one);
  await enter('2', one);
  await enter('3', one);
  assert.deepEqual(ended.splice(0), ['3 OVERLOADED'], 'of one connection the newest');
  leave();
  await enter('4', one);
  const two = of('greedy');
  await enter('5', two);
  await enter('6', two);
  assert.deepEqual(ended.splice(0), ['2 OVERLOADED'], 'of one address the oldest');
  await enter('7', of('honest'));
  await enter('8', of('other'));
  assert.deepEqual(ended.splice(0), ['4 OVERLOADED'], 'in all the oldest of whoever has most');
  const agent = of('greedy', agentOf('spiffe://td/meshca/agent/a'));
  for (let call = 0; call < 10; call += 1) await enter('agent', agent);
  await enter('9', 'a connection that is gone');
  assert.deepEqual(ended, []);
});
