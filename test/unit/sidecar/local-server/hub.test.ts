import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHub } from '../../../../sidecar/local-server/hub.ts';
import { FakeBundles, FakeEntries } from '../../../support/local-server-fakes.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test('a change reaches every stream once, in slices, however often it is told meanwhile', async () => {
  const [entries, bundles] = [new FakeEntries(), new FakeBundles()];
  const hub = createHub(entries, bundles);
  const told = Array.from({ length: 200 }, () => ({ entries: 0, bundles: 0 }));
  for (const each of told)
    hub.add({
      entriesChanged: () => void (each.entries += 1),
      bundlesChanged: () => void (each.bundles += 1),
    });
  entries.set();
  entries.set();
  bundles.set(bundles.own);
  assert.equal(hub.bundleGeneration(), 1);
  await turn();
  const some = told.filter((each) => each.bundles > 0).length;
  assert.ok(some > 0 && some < told.length, `${some} in the first slice`);
  for (let round = 0; round < 10; round += 1) await turn();
  assert.ok(told.every((each) => each.entries === 1 && each.bundles === 1));
});

test('a stream that has left hears nothing more, and a hub that is stopped listens to nobody', async () => {
  const [entries, bundles] = [new FakeEntries(), new FakeBundles()];
  const hub = createHub(entries, bundles);
  let heard = 0;
  const leave = hub.add({
    entriesChanged: () => void (heard += 1),
    bundlesChanged: () => void (heard += 1),
  });
  entries.set();
  leave();
  await turn();
  assert.equal(heard, 0);
  hub.close();
  assert.equal(entries.listeners, 0);
});
