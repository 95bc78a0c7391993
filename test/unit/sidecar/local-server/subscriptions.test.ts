import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { createSubscriptionSet } from '../../../../sidecar/local-server/subscriptions.ts';
import type { SvidManager } from '../../../../sidecar/ports/svids.ts';
import { entryOf, FakeSvids } from '../../../support/local-server-fakes.ts';

const identity = (name: string) => {
  const entry = entryOf(name, `spiffe://td/${name}`, []);
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};

test('a stream holds a subscription for each of its identities, the default first, and gives all back', () => {
  const svids = new FakeSvids();
  let updates = 0;
  const subscriptions = createSubscriptionSet(svids, systemClock, () => void (updates += 1));
  const [a, b] = [identity('a'), identity('b')];
  subscriptions.hold([a, b], []);
  assert.equal(subscriptions.settle(1000), undefined, 'both are at hand');
  const names = (): string[] =>
    subscriptions.current().map((each) => each.identity.spiffeId.toString().slice(12));
  assert.deepEqual(names(), ['a', 'b']);
  subscriptions.hold([b], []);
  assert.deepEqual([svids.open, names()], [1, ['b']]);
  svids.renew(b);
  svids.renew(a);
  assert.equal(updates, 1, 'what is not held any more is not told');
  subscriptions.confirm(subscriptions.current());
  assert.equal(svids.confirmed.length, 1);
  subscriptions.release();
  assert.equal(svids.open, 0);
});

test('the wait for first SVIDs ends with each of them, and the first failure is known', async () => {
  const refusal = new PkiError('ENTRY_NOT_AUTHORIZED', 'no');
  const svids: Pick<SvidManager, 'acquire'> = {
    acquire: () => ({
      current: () => undefined,
      ready: () => Promise.reject(refusal),
      onUpdate: () => () => {},
      confirm: () => {},
      release: () => {},
    }),
  };
  const subscriptions = createSubscriptionSet(svids as SvidManager, systemClock, () => {});
  subscriptions.hold([identity('a')], []);
  await subscriptions.settle(60_000);
  assert.equal(subscriptions.firstFailure(), refusal);
  assert.equal(subscriptions.settle(60_000), undefined, 'nothing is waited for a second time');
});
