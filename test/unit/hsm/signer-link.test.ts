import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { describe, it } from 'node:test';

import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import { systemClock, type Clock } from '../../../src/common/runtime/index.ts';
import type { SignItem } from '../../../src/hsm/signing-port.ts';
import type { FromSigner, ToSigner } from '../../../src/hsm/protocol.ts';
import { SignerLink } from '../../../src/hsm/signer-link.ts';

class FakeChild extends EventEmitter {
  readonly pid = 1;
  connected = true;
  readonly sent: ToSigner[] = [];
  readonly signals: string[] = [];
  send(message: ToSigner): void {
    this.sent.push(message);
  }
  kill(signal: string): void {
    this.signals.push(signal);
  }
  says(message: FromSigner): void {
    this.emit('message', message);
  }
}

function fakeClock(): { readonly clock: Clock; advance(ms: number): void } {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  const clock: Clock = {
    ...systemClock,
    monotonicMs: () => nowMs,
    after: (delayMs, callback) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  return {
    clock,
    advance: (ms) => {
      const untilMs = nowMs + ms;
      for (;;) {
        const [next] = [...timers]
          .filter(({ atMs }) => atMs <= untilMs)
          .sort((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = next.atMs;
        next.callback();
      }
      nowMs = untilMs;
    },
  };
}

function setUp() {
  const child = new FakeChild();
  const { clock, advance } = fakeClock();
  const deaths: PkiError[] = [];
  const link = new SignerLink(child as unknown as ChildProcess, {
    clock,
    deadlineMs: 1000,
    startDeadlineMs: 9000,
    onDeath: (error) => deaths.push(error),
  });
  return { child, advance, deaths, link };
}

const items: readonly SignItem[] = [{ ckaId: 'aa', bytes: Buffer.alloc(1), format: 'x509' }];
const start: Extract<ToSigner, { type: 'start' }> = {
  type: 'start',
  token: { modulePath: '/m', tokenLabel: 't', pin: 'p' },
  mode: 'sync',
  sessions: 1,
  keys: [],
};
const withCode = (code: ErrorCode) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code;
const idOf = (message: ToSigner | undefined): number =>
  message !== undefined && 'id' in message ? message.id : -1;

describe('the watch over one signer process', () => {
  it('kills a signer that is silent beyond its deadline, once, and fails what waited for it', async () => {
    const { child, advance, deaths, link } = setUp();
    const [first, second] = [link.sign(items), link.sign(items)];
    advance(1099);
    assert.equal(deaths.length, 0);
    advance(1);
    assert.deepEqual(child.signals, ['SIGKILL']);
    await assert.rejects(first, withCode('HSM_UNAVAILABLE'));
    await assert.rejects(second, withCode('HSM_UNAVAILABLE'));
    child.emit('exit', null, 'SIGKILL');
    child.emit('disconnect');
    assert.equal(deaths.length, 1);
    await assert.rejects(link.sign(items), withCode('HSM_UNAVAILABLE'));
    assert.equal(link.itemsInFlight, 0);
  });

  it('spares a signer whose answer lay in the channel while the parent itself was stalled', async () => {
    const { child, advance, deaths, link } = setUp();
    const signing = link.sign(items);
    advance(1000);
    child.says({
      type: 'signed',
      id: idOf(child.sent[0]),
      outcomes: [{ ok: true, signature: Buffer.from('s') }],
      spentMs: 1,
    });
    advance(5000);
    assert.deepEqual(await signing, [{ ok: true, signature: Buffer.from('s') }]);
    assert.equal(deaths.length, 0);
  });

  it('takes progress as life, and gives a start its own, longer deadline', async () => {
    const { child, advance, deaths, link } = setUp();
    const starting = link.start(start);
    advance(8999);
    child.says({ type: 'started', mode: 'sync', sessions: 1, unusable: [] });
    await starting;
    const signing = link.sign(items);
    for (let round = 0; round < 10; round++) {
      advance(900);
      child.says({ type: 'progress' });
    }
    assert.equal(deaths.length, 0);
    advance(1100);
    assert.equal(deaths.length, 1);
    await assert.rejects(signing, withCode('HSM_UNAVAILABLE'));
  });

  it('does not watch an idle signer, and a progress message from one starts no watch', () => {
    const { child, advance, deaths } = setUp();
    child.says({ type: 'progress' });
    advance(100_000);
    assert.equal(deaths.length, 0);
  });

  it('kills a signer that answers another number of outcomes than was asked for', async () => {
    const { child, deaths, link } = setUp();
    const signing = link.sign(items);
    child.says({ type: 'signed', id: idOf(child.sent[0]), outcomes: [], spentMs: 1 });
    await assert.rejects(signing, withCode('HSM_UNAVAILABLE'));
    assert.equal(deaths.length, 1);
    assert.deepEqual(child.signals, ['SIGKILL']);
  });

  it('reports an invalid signature as fatal and a failed start with its own code', async () => {
    const fatal = setUp();
    const signing = fatal.link.sign(items);
    fatal.child.says({ type: 'lost', error: { code: 'HSM_SIGNATURE_INVALID', message: 'C_Sign' } });
    await assert.rejects(signing, withCode('HSM_SIGNATURE_INVALID'));
    assert.equal(fatal.deaths[0]?.grade, 'fatal');
    const failed = setUp();
    const starting = failed.link.start(start);
    failed.child.says({
      type: 'start-failed',
      error: { code: 'HSM_PIN_WRONG', message: 'C_Login: CKR_PIN_INCORRECT' },
    });
    await assert.rejects(starting, withCode('HSM_PIN_WRONG'));
    assert.deepEqual(failed.child.signals, ['SIGKILL']);
  });
});
