import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loggedObject, podHolder, type ClockState } from '../../../src/domain/index.ts';
import { Confirmations } from '../../../src/ledger/confirmations.ts';
import { apply, emptyMemory } from '../../../src/ledger/memory.ts';
import type { Issued } from '../../../src/ledger/issued-record.ts';
import { ledgerRotations } from '../../../src/ledger/rotations.ts';
import type { ConsumerStore, RotationStore } from '../../../src/store/ports/index.ts';
import { FakeClock } from '../../support/agent.ts';

const day = 86_400;

test('a leaf is remembered until it ended by a clock that is believed', () => {
  const clock = new FakeClock();
  const memory = emptyMemory(clock);
  const anchor: ClockState = {
    bootId: 'boot-1',
    uptimeMs: 0,
    wallMs: clock.nowMs(),
    standing: 'believed',
    seconds: 0,
  };
  let sequence = 0;
  const told = (state: ClockState): void => {
    const object = {
      ...loggedObject('clock', state),
      act: 'clock.kept',
      subject: 'clock',
      detail: { ...state },
    };
    apply(
      memory,
      { object, issued: undefined, restored: undefined, places: [], shardLeaf: undefined },
      (sequence += 1),
    );
  };
  told(anchor);
  const notAfter = clock.now() + day;
  const leaf: Issued = {
    ...{ of: 'leaf', kind: 'workload', holder: 'n1', serial: '0a' },
    ...{ authorityId: 'a', atMs: clock.nowMs(), notAfter },
  };
  apply(
    memory,
    {
      object: undefined,
      issued: leaf,
      restored: undefined,
      places: [],
      shardLeaf: undefined,
    },
    (sequence += 1),
  );
  const known = (): readonly string[] => memory.issued.copy().holders.map(([holder]) => holder);

  clock.jumpWall(30 * day * 1000);
  assert.equal(memory.issued.holders(clock.now()).size, 0);
  assert.deepEqual(known(), ['n1'], 'it is not forgotten before the jump is on record');
  told({ ...anchor, standing: 'jumped', seconds: 30 * day });
  assert.equal(memory.issued.holders(clock.now()).size, 0, 'of those that live by this clock');
  assert.deepEqual(known(), ['n1'], 'it is not forgotten');
  clock.jumpWall(-30 * day * 1000);
  told(anchor);
  assert.deepEqual([...memory.issued.holders(clock.now())], [['n1', notAfter]]);

  clock.advance(30 * day * 1000);
  told({ ...anchor, wallMs: clock.nowMs() });
  assert.equal(memory.issued.holders(clock.now()).size, 0);
  assert.deepEqual(known(), []);
});

test('what holders can not report counts as the log has it, whatever the rows say', async () => {
  const clock = new FakeClock();
  const memory = emptyMemory(clock);
  const notAfter = clock.now() + day;
  const node = 'spiffe://mesh.test/meshca/agent/n1';
  const leaf = (holder: string, serial: string): Issued => ({
    ...{ of: 'leaf', kind: 'workload', holder, serial },
    ...{ authorityId: 'a', atMs: clock.nowMs(), notAfter },
  });
  const agent = {
    kind: 'agent',
    act: 'agent.joined',
    id: node,
    subject: node,
    sha256: 'ab',
    detail: {},
  } as const;
  apply(
    memory,
    {
      object: agent,
      issued: leaf(node, '0a'),
      restored: undefined,
      places: [],
      shardLeaf: undefined,
    },
    1,
  );
  apply(
    memory,
    {
      object: undefined,
      issued: leaf('uid:0', '0b'),
      restored: undefined,
      places: [],
      shardLeaf: undefined,
    },
    2,
  );
  const ca: Issued = { of: 'downstream', serial: '0c', authorityId: 'a', notAfter };
  apply(
    memory,
    { object: undefined, issued: ca, restored: undefined, places: [], shardLeaf: undefined },
    3,
  );
  // rows in which all leaves are an agent's
  const rows = {
    signedBy: () =>
      Promise.resolve(new Map([['a', { lastExpiry: notAfter, live: 2, liveUnreported: 0 }]])),
  } as Partial<RotationStore> as RotationStore;
  const rotations = ledgerRotations(
    rows,
    memory.issued,
    new Confirmations({} as ConsumerStore, { clock, announce: () => {} }),
    {
      objects: memory.objects,
      standing: () => Promise.resolve({ authorities: [], operations: [], altered: [] }),
    },
  );
  assert.deepEqual((await rotations.signedBy(clock.now(), 0)).get('a'), {
    lastExpiry: notAfter,
    live: 2,
    liveUnreported: 2,
  });
  assert.equal(memory.issued.liveUnreported('a', notAfter + 1), 0, 'all of them have ended');
  assert.equal(memory.issued.liveUnreported('b', clock.now()), 0);
});

test('of a holder that keeps its roots, later leaves count with the first, whatever is forgotten', () => {
  const clock = new FakeClock();
  const memory = emptyMemory(clock);
  const proxy = 'linkerd:prod/shop/web-1#0011223344556677';
  let sequence = 0;
  const tick = (): void => {
    const state: ClockState = {
      ...{ bootId: 'boot-1', uptimeMs: 0, wallMs: clock.nowMs(), standing: 'believed' },
      seconds: 0,
    };
    const object = {
      ...loggedObject('clock', state),
      act: 'clock.kept',
      subject: 'clock',
      detail: { ...state },
    };
    apply(
      memory,
      { object, issued: undefined, restored: undefined, places: [], shardLeaf: undefined },
      (sequence += 1),
    );
  };
  tick();
  const give = (holder: string): number => {
    const notAfter = clock.now() + day;
    const issued: Issued = {
      ...{ of: 'leaf', kind: 'linkerd', holder, serial: '0a' },
      ...{ authorityId: 'a', atMs: clock.nowMs(), notAfter },
    };
    apply(
      memory,
      { object: undefined, issued, restored: undefined, places: [], shardLeaf: undefined },
      (sequence += 1),
    );
    return notAfter;
  };
  give(proxy);
  give('client');
  const published = clock.now() + 10;
  // it renews each day, long after what it had at the publication was forgotten
  let last = 0;
  for (let days = 0; days < 5; days += 1) {
    clock.advance(0.7 * day * 1000);
    tick();
    last = give(proxy);
    give('client');
  }
  assert.equal(memory.issued.unheldUntil(published), last);
  const again = emptyMemory(clock);
  again.issued.restore(memory.issued.copy());
  assert.equal(again.issued.unheldUntil(published), last, 'a snapshot says the same');
  clock.advance(3 * day * 1000);
  tick();
  assert.ok(memory.issued.unheldUntil(published) < clock.now(), 'it has ended');
  assert.equal(memory.issued.unheldUntil(published), 0);
});

test('a pod with a later leaf has the roots of that time, in a snapshot and in any order too', () => {
  const clock = new FakeClock();
  const pod = podHolder('prod', { name: 'web-0', uid: 'u0' });
  const leaf = (seconds: number): Issued => ({
    ...{ of: 'leaf', kind: 'delegated', holder: pod, serial: '0a', authorityId: 'a' },
    ...{ atMs: clock.nowMs() + seconds * 1000, notAfter: clock.now() + seconds + day },
  });
  const published = clock.now() + 100;
  for (const order of [
    [0, 110],
    [110, 0],
  ]) {
    const memory = emptyMemory(clock);
    apply(
      memory,
      {
        object: undefined,
        issued: leaf(0),
        restored: undefined,
        places: [],
        shardLeaf: undefined,
      },
      1,
    );
    assert.equal(memory.issued.unheldUntil(published), clock.now() + day, 'it waits');
    const both = emptyMemory(clock);
    for (const [index, seconds] of order.entries())
      apply(
        both,
        {
          object: undefined,
          issued: leaf(seconds),
          restored: undefined,
          places: [],
          shardLeaf: undefined,
        },
        index + 1,
      );
    assert.equal(both.issued.unheldUntil(published), 0);
    const [earlier, later] = [leaf(0), leaf(110)].map((each) => {
      const part = emptyMemory(clock);
      apply(
        part,
        {
          object: undefined,
          issued: each,
          restored: undefined,
          places: [],
          shardLeaf: undefined,
        },
        1,
      );
      return part;
    });
    const again = emptyMemory(clock);
    again.issued.restore((later as typeof both).issued.copy());
    again.issued.complete((earlier as typeof both).issued);
    assert.equal(again.issued.unheldUntil(published), 0);
    assert.equal(again.issued.unheldUntil(published + 60), clock.now() + 110 + day);
  }
});

test('a certificate for names keeps its authority, and lets no root of the mesh wait', () => {
  const clock = new FakeClock();
  const memory = emptyMemory(clock);
  const notAfter = clock.now() + 90 * day;
  const leaf: Issued = {
    ...{ of: 'leaf', kind: 'endpoint', holder: 'spiffe://example.org/acme', serial: '0a' },
    ...{ authorityId: 'names', atMs: clock.nowMs(), notAfter },
  };
  apply(
    memory,
    {
      object: undefined,
      issued: leaf,
      restored: undefined,
      places: [],
      shardLeaf: undefined,
    },
    1,
  );
  const { issued } = memory;
  assert.equal(issued.lastOf('names'), notAfter);
  assert.equal(issued.liveUnreported('names', clock.now()), 1);
  assert.deepEqual([...issued.holders(clock.now())], []);
  assert.equal(issued.unheldUntil(Infinity), 0);
});
