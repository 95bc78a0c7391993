import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import {
  LocalConnection,
  type LocalConnectionDependencies,
} from '../../../../sidecar/local-server/local-connection.ts';
import { FakeClock } from '../../../support/agent.ts';

function setUp(change: Partial<LocalConnectionDependencies> = {}) {
  const clock = new FakeClock();
  const socket = { destroyed: false, destroy: () => void (socket.destroyed = true) };
  const places: string[] = [];
  const turns: boolean[] = [];
  const connection = new LocalConnection({
    id: 'unix:1',
    uid: 7,
    pid: 8,
    holder: '7 /',
    peer: undefined,
    refusal: undefined,
    socket: socket as unknown as Socket,
    clock,
    firstCallMs: 1000,
    idleMs: 5000,
    lifeMs: undefined,
    onBusy: (busy) => void turns.push(busy),
    unreadBytes: () => 0,
    takeCgroup: (key) => {
      if (places.length >= 2) return undefined;
      places.push(key);
      return () => void places.splice(places.indexOf(key), 1);
    },
    releasePlace: () => {},
    ...change,
  });
  return { clock, socket, places, turns, connection };
}

test('a connection without a first call is closed, and one whose last call ended some time ago', () => {
  const silent = setUp();
  silent.clock.advance(1000);
  assert.equal(silent.socket.destroyed, true);

  const { clock, socket, turns, connection } = setUp();
  const [first, second] = [connection.enter(() => {}), connection.enter(() => {})];
  clock.advance(60_000);
  first();
  clock.advance(60_000);
  assert.equal(socket.destroyed, false, 'a call is open');
  assert.deepEqual(turns, [true]);
  second();
  second();
  assert.deepEqual(turns, [true, false]);
  clock.advance(4999);
  assert.equal(socket.destroyed, false);
  clock.advance(1);
  assert.equal(socket.destroyed, true);
});

test('a connection of a stranger ends with its life, whatever it does', () => {
  const { clock, socket, connection } = setUp({ lifeMs: 2000 });
  connection.enter(() => {});
  clock.advance(2000);
  assert.equal(socket.destroyed, true);
});

test('a connection that fails tells its calls first, and then gets nothing more', () => {
  const { clock, socket, connection } = setUp();
  const heard: string[] = [];
  const leave = connection.enter((error) => void heard.push(error.code));
  connection.fail(new PkiError('PEER_UNVERIFIABLE', 'gone'));
  assert.deepEqual([heard, socket.destroyed], [['PEER_UNVERIFIABLE'], false]);
  leave();
  clock.advance(250);
  assert.equal(socket.destroyed, true);
  assert.throws(() => connection.vouched(), { code: 'PEER_UNVERIFIABLE' });
});

test('a connection counts once towards its control group, moves with it, and gives its place back', () => {
  const { places, connection } = setUp();
  assert.ok(connection.countIn('/'));
  assert.ok(connection.countIn('/a') && connection.countIn('/a'));
  assert.deepEqual(places, ['/a']);
  assert.ok(connection.countIn('/b'));
  assert.deepEqual(places, ['/b']);
  places.push('/other');
  assert.equal(connection.countIn('/c'), false, 'no place left');
  connection.closed();
  assert.deepEqual(places, ['/other']);
});

test('a connection that has closed asks nothing of its socket, and arms no timer', () => {
  let asked = 0;
  const { clock, socket, turns, connection } = setUp({ unreadBytes: () => (asked += 1) });
  const leave = connection.enter(() => {});
  connection.selectors = [{ type: 'unix', value: 'uid:7' }];
  connection.closed();
  assert.deepEqual([connection.unreadBytes(), asked, connection.selectors], [undefined, 0, []]);
  assert.equal(connection.countIn('/a'), false);
  leave();
  connection.enter(() => {})();
  clock.advance(60_000);
  assert.deepEqual([turns, socket.destroyed], [[true], false]);
});
