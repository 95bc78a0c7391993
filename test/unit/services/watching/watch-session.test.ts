import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DelegateCaller } from '../../../../src/services/index.ts';
import { WatchSession } from '../../../../src/services/watching/watch-session.ts';
import { WatchState } from '../../../../src/services/watching/watch-state.ts';
import type { WatchMessage } from '../../../../src/services/services.ts';

const bundle = (sequence: number) => ({
  sequence,
  document: '{"keys":[]}',
  jws: `bundle.${sequence}`,
  createdAt: 0,
});

const caller: DelegateCaller = {
  class: 'delegate',
  kind: 'workload',
  spiffeId: 'spiffe://mesh.test/control',
  serial: '01',
  notAfter: 100,
  authorityId: 'a',
  entryId: null,
  node: undefined,
  peer: '',
};

function sessionOf(withoutCrls = false) {
  const world = {
    bundle: bundle(1),
    crls: [] as { authorityId: string; der: Buffer; nextUpdate: number }[],
  };
  const state = new WatchState({
    authorities: { bundle: () => world.bundle, tainted: () => [] },
    crls: { set: () => world.crls },
    watchers: { certificatesOf: () => 0 },
    clock: { now: () => 0 },
    trustDomainName: 'mesh.test',
    taintWindowSeconds: 60,
  });
  const sent: WatchMessage[] = [];
  const transport = { takes: true, closed: 0 };
  const session = new WatchSession(
    { caller, closed: () => {} },
    {
      send: (message) => {
        sent.push(message);
        return transport.takes;
      },
      close: () => (transport.closed += 1),
    },
    { state, withoutCrls, replacements: undefined },
  );
  const change = (): void => {
    state.moved();
    session.pump();
  };
  return { world, sent, transport, session, change };
}

test('a reader that takes nothing gets one message of the newest state when it takes more', () => {
  const { world, sent, transport, session, change } = sessionOf();
  transport.takes = false;
  session.pump();
  for (let sequence = 2; sequence < 1_000; sequence += 1) {
    world.bundle = bundle(sequence);
    change();
  }
  assert.equal(sent.length, 1);
  transport.takes = true;
  session.drained();
  assert.deepEqual(
    sent.map(({ trust }) => trust?.sequence),
    [1, 999],
  );
  session.drained();
  assert.equal(sent.length, 2, 'nothing has changed');
});

test('CRLs go to those who want them, and too large ones as a hint only', () => {
  const crl = (bytes: number) => [{ authorityId: 'a', der: Buffer.alloc(bytes), nextUpdate: 1 }];
  for (const withoutCrls of [false, true]) {
    const { world, sent, session, change } = sessionOf(withoutCrls);
    session.pump();
    world.crls = crl(10);
    change();
    world.crls = crl(4 * 1024 * 1024);
    change();
    assert.deepEqual(
      sent.map(({ crls }) => (crls === undefined ? 'same' : [crls.crls.length, crls.onlyHttp])),
      withoutCrls
        ? [[0, false]]
        : [
            [0, false],
            [1, false],
            [0, true],
          ],
    );
  }
});

test('nothing is sent on a session that has ended', () => {
  const { world, sent, session, change } = sessionOf();
  session.end();
  world.bundle = bundle(2);
  change();
  assert.deepEqual(sent, []);
});
