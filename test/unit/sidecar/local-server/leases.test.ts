import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { createLeaseSet } from '../../../../sidecar/local-server/leases.ts';
import type { SvidManager } from '../../../../sidecar/ports/svids.ts';
import { entryOf, FakeSvids } from '../../../support/local-server-fakes.ts';

const identity = (name: string) => {
  const entry = entryOf(name, `spiffe://td/${name}`, []);
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};

test('a stream holds a lease for each of its identities, the default first, and gives all back', () => {
  const svids = new FakeSvids();
  let updates = 0;
  const leases = createLeaseSet(svids, systemClock, () => void (updates += 1));
  const [a, b] = [identity('a'), identity('b')];
  leases.hold([a, b], []);
  assert.equal(leases.settle(1000), undefined, 'both are at hand');
  const names = (): string[] =>
    leases.current().map((each) => each.identity.spiffeId.toString().slice(12));
  assert.deepEqual(names(), ['a', 'b']);
  leases.hold([b], []);
  assert.deepEqual([svids.open, names()], [1, ['b']]);
  svids.renew(b);
  svids.renew(a);
  assert.equal(updates, 1, 'what is not held any more is not told');
  leases.confirm(leases.current());
  assert.equal(svids.confirmed.length, 1);
  leases.release();
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
  const leases = createLeaseSet(svids as SvidManager, systemClock, () => {});
  leases.hold([identity('a')], []);
  await leases.settle(60_000);
  assert.equal(leases.firstFailure(), refusal);
  assert.equal(leases.settle(60_000), undefined, 'nothing is waited for a second time');
});
