import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { describe, test } from 'node:test';
import { ConnectionSlots, holderOf } from '../../../../src/common/runtime/index.ts';

class FakeSocket extends EventEmitter {
  readonly remoteAddress: string;
  readonly remotePort: number;
  destroyed = false;

  constructor(address: string, port: number) {
    super();
    this.remoteAddress = address;
    this.remotePort = port;
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

describe('slots for connections', () => {
  const setUp = (maximum: number) => {
    const refused: string[] = [];
    const slots = new ConnectionSlots(maximum, (reason) => refused.push(reason));
    let port = 0;
    const connect = (address: string): FakeSocket => {
      const socket = new FakeSocket(address, (port += 1));
      slots.add(socket as unknown as Socket);
      return socket;
    };
    const complete = (socket: FakeSocket): void =>
      slots.requestComplete(socket as unknown as Socket);
    const over = (socket: FakeSocket): void => slots.requestOver(socket as unknown as Socket);
    return { slots, refused, connect, complete, over };
  };

  test('the oldest unfinished connection of whoever holds most makes room', () => {
    const { slots, refused, connect } = setUp(4);
    const honest = connect('192.0.2.1');
    const attack = [1, 2, 3].map(() => connect('192.0.2.66'));
    const late = connect('192.0.2.2');
    assert.deepEqual(
      attack.map(({ destroyed }) => destroyed),
      [true, false, false],
    );
    assert.ok(!honest.destroyed && !late.destroyed);
    assert.equal(slots.size, 4);
    assert.deepEqual(refused, ['evicted']);
  });

  test('a newcomer counts for its holder, so that an attacker displaces itself', () => {
    const { connect } = setUp(2);
    const honest = connect('192.0.2.1');
    const first = connect('192.0.2.66');
    const second = connect('192.0.2.66');
    assert.ok(!honest.destroyed && first.destroyed && !second.destroyed);
  });

  test('whoever has sent a whole request keeps its slot, and a newcomer is refused when all have', () => {
    const { refused, connect, complete } = setUp(2);
    const one = connect('192.0.2.66');
    const two = connect('192.0.2.66');
    complete(one);
    const three = connect('192.0.2.1');
    assert.ok(!one.destroyed && two.destroyed);
    complete(three);
    assert.ok(connect('192.0.2.2').destroyed);
    assert.deepEqual(refused, ['evicted', 'full']);
  });

  test('a connection whose request is answered is unfinished again', () => {
    const { connect, complete, over } = setUp(1);
    const idle = connect('192.0.2.1');
    complete(idle);
    over(idle);
    assert.ok(!connect('192.0.2.2').destroyed);
    assert.ok(idle.destroyed);
  });

  test('connections that close free their slots, once', () => {
    const { slots, connect, over } = setUp(2);
    const one = connect('192.0.2.1');
    one.destroy();
    over(one);
    assert.equal(slots.size, 0);
    connect('192.0.2.1');
    slots.destroyUnfinished();
    assert.equal(slots.size, 0);
  });

  test('an IPv6 client holds connections as its /64', () => {
    assert.equal(holderOf('192.0.2.1'), '192.0.2.1');
    assert.equal(holderOf('::ffff:192.0.2.1'), '192.0.2.1');
    assert.equal(holderOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2');
    assert.equal(holderOf('2001:db8::6'), '2001:db8:0:0');
    assert.equal(holderOf('2001:db8::'), '2001:db8:0:0');
    assert.equal(holderOf('::1'), '0:0:0:0');
    assert.equal(holderOf('2001:db8:1::3:4:5:6'), '2001:db8:1:0');
  });
});
