import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '../../../../sidecar/ports/entries.ts';
import { entryOf, eventually, settle } from '../../../support/agent.ts';
import { uid, world, identity } from './svids-support.ts';

test('renewal comes at a third of the life with a new key, and nothing in use expires', async (context) => {
  const of = world(context);
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  await subscription.ready();
  for (let minute = 0; minute < 200; minute += 1) {
    of.clock.advance(60_000);
    await settle(6);
    assert.ok(subscription.current() !== undefined && subscription.current() !== null);
    assert.ok((subscription.current()?.notAfter ?? 0) - of.clock.now() > 0);
  }
  const renewals = of.issued.length - 1;
  assert.ok(renewals >= 8 && renewals <= 14, `${renewals} renewals in 200 minutes of hours`);
  assert.equal(new Set(of.issued.map(({ spki }) => spki)).size, of.issued.length);
});

test('an outage as long as promised passes unnoticed, and on return renewals spread', async (context) => {
  const of = world(context, { entries: 60 });
  const subscriptions = Array.from({ length: 60 }, (_, index) =>
    of.x509.acquire(identity(of, index), uid(index)),
  );
  await Promise.all(subscriptions.map((subscription) => subscription.ready()));
  of.connected = false;
  for (let step = 0; step < 35; step += 1) {
    of.clock.advance(60_000);
    await settle(6);
  }
  await eventually(() => of.failures.length >= 60);
  assert.ok(subscriptions.every((subscription) => subscription.current() !== undefined));
  const before = of.issued.length;
  of.connected = true;
  of.x509.reconnected();
  await settle(6);
  const atOnce = of.issued.length - before;
  assert.ok(atOnce <= 6, `${atOnce} at once`);
  for (let second = 0; second < 70; second += 1) {
    of.clock.advance(1000);
    await settle(4);
  }
  await eventually(() => of.issued.length - before >= 60);
  assert.equal(of.issued.length - before, 60);
  assert.equal(of.expired, 0);
});

test('leaves of a tainted authority are renewed inside its window, others are not', async (context) => {
  const of = world(context, { entries: 20 });
  const subscriptions = Array.from({ length: 20 }, (_, index) =>
    of.x509.acquire(identity(of, index), uid(index)),
  );
  await Promise.all(subscriptions.slice(0, 10).map((subscription) => subscription.ready()));
  of.authorityId = 'a2';
  await Promise.all(subscriptions.map((subscription) => subscription.ready()));
  const serials = subscriptions.map((subscription) => subscription.current()?.serial);
  of.x509.setTainted(new Map([['a1', 60]]));
  const perStep: number[] = [];
  for (let second = 0; second < 62; second += 1) {
    const before = of.issued.length;
    of.clock.advance(1000);
    await settle(4);
    perStep.push(of.issued.length - before);
  }
  const changed = subscriptions.filter(
    (subscription, index) => subscription.current()?.serial !== serials[index],
  ).length;
  assert.equal(changed, of.issued.length - 20);
  assert.ok(changed >= 10);
  assert.ok(Math.max(...perStep) <= 4, 'spread');
});

test('leaves of a tainted authority are replaced soonest expiry first; a repeated taint moves none', async (context) => {
  const of = world(context, { entries: 6 });
  of.authorityId = 'a1';
  const subscriptions = [];
  for (let index = 0; index < 5; index += 1) {
    const subscription = of.x509.acquire(identity(of, index), uid(index));
    await subscription.ready();
    subscriptions.push(subscription);
    // each ends ten seconds after the one before
    of.clock.advance(10_000);
  }
  of.authorityId = 'a2';
  of.x509.setTainted(new Map([['a1', 100]]));
  const planned = of.x509.held().map(({ renewAt }) => renewAt);
  assert.deepEqual(
    planned,
    [...planned].sort((a, b) => a - b),
  );
  for (const [index, at] of planned.entries())
    assert.ok(at - of.clock.now() <= 20 * (index + 1), 'each in its own part of the window');
  for (let turn = 0; turn < 20; turn += 1) {
    of.x509.setTainted(new Map());
    of.x509.setTainted(new Map([['a1', 100]]));
  }
  assert.deepEqual(
    of.x509.held().map(({ renewAt }) => renewAt),
    planned,
  );
});

test('what was kept warm from a tainted authority is replaced within the window once used again', async (context) => {
  const of = world(context, { entries: 1 });
  of.authorityId = 'a1';
  const first = of.x509.acquire(identity(of, 0), uid(0));
  const { serial } = await first.ready();
  first.release();
  of.authorityId = 'a2';
  of.x509.setTainted(new Map([['a1', 30]]));
  const again = of.x509.acquire(identity(of, 0), uid(0));
  assert.equal((await again.ready()).serial, serial);
  for (let second = 0; second < 32; second += 1) {
    of.clock.advance(1000);
    await settle(4);
  }
  assert.notEqual(again.current()?.serial, serial);
});

test('after a suspend what is due is renewed and what has ended is not served', async (context) => {
  const of = world(context);
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  const first = await subscription.ready();
  of.clock.jumpWall(2_000_000);
  of.clock.advance(31_000);
  await settle();
  of.clock.advance(10);
  await settle();
  assert.notEqual(subscription.current()?.serial, first.serial);
  of.connected = false;
  of.clock.jumpWall(4_000_000);
  of.clock.advance(31_000);
  await settle();
  assert.equal(subscription.current(), undefined);
});

test('a wall clock that is wrong from the start, or steps back, disturbs nothing', async (context) => {
  const of = world(context);
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  const first = await subscription.ready();
  of.clock.jumpWall(-7_200_000);
  of.clock.advance(600_000);
  await settle();
  assert.equal(subscription.current()?.serial, first.serial);
});

test('the shortest life wanted is known before the first SVID, from the entries of those who wait', async (context) => {
  const of = world(context);
  of.cache.applySnapshot([
    entryOf('long', ['unix:uid:1'], { x509TtlSeconds: 600 }),
    entryOf('short', ['unix:uid:2'], { x509TtlSeconds: 60 }),
    entryOf('default', ['unix:uid:3']),
  ]);
  of.connected = false;
  const wanted = (): number | undefined => of.x509.horizon().shortestWantedLifeSeconds;
  const leaseOf = (number: number) =>
    of.x509.acquire(of.cache.match(uid(number))[0] as Identity, uid(number));
  const byDefault = leaseOf(3);
  assert.equal(wanted(), undefined, 'the default of the server is not known here');
  leaseOf(1);
  assert.equal(wanted(), 600);
  const short = leaseOf(2);
  assert.equal(wanted(), 60);
  assert.equal(of.x509.shortestLifeSeconds(), undefined, 'nothing is held');
  short.release();
  assert.equal(wanted(), 600);
  byDefault.release();
});

test('a certificate that was revoked is replaced inside its window, and those beside it are not', async (context) => {
  const of = world(context, { entries: 3 });
  const subscriptions = Array.from({ length: 3 }, (_, index) =>
    of.x509.acquire(identity(of, index), uid(index)),
  );
  await Promise.all(subscriptions.map((subscription) => subscription.ready()));
  const serials = subscriptions.map((subscription) => subscription.current()?.serial ?? '');
  of.x509.setTainted(
    new Map([
      [serials[0] ?? '', 30],
      [serials[1] ?? '', 30],
    ]),
  );
  for (let second = 0; second < 32; second += 1) {
    of.clock.advance(1000);
    await settle(4);
  }
  assert.deepEqual(
    subscriptions.map((subscription, index) => subscription.current()?.serial === serials[index]),
    [false, false, true],
  );
});
