import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import {
  generateKeyPairAsync,
  parseCertificate,
  pkcs8Of,
  spkiOf,
} from '../../../../src/common/x509/index.ts';
import { SigningQueue, X509Svids } from '../../../../sidecar/svid/index.ts';
import type { StoredSvid, WorkloadKeyStore } from '../../../../sidecar/state/index.ts';
import { entryOf, eventually, settle } from '../../../support/agent.ts';
import { extensions, leafExtensions, makeCertificate } from '../../../support/x509.ts';
import { trustDomain, selectors, uid, authority, world, identity } from './svids-support.ts';

test('those who ask in one turn share one call; an identity is signed once for all its holders', async (context) => {
  const of = world(context, { entries: 40 });
  const subscriptions = Array.from({ length: 40 }, (_, index) =>
    of.x509.acquire(identity(of, index), uid(index)),
  );
  const twice = of.x509.acquire(identity(of, 0), uid(0));
  await Promise.all([...subscriptions, twice].map((subscription) => subscription.ready()));
  assert.equal(of.calls.length, 1);
  assert.equal(of.calls[0]?.length, 40);
  assert.equal(twice.current()?.serial, subscriptions[0]?.current()?.serial);
});

test('no call has more than 500 items', async (context) => {
  const of = world(context, { entries: 620 });
  await Promise.all(
    Array.from({ length: 620 }, (_, index) =>
      of.x509.acquire(identity(of, index), uid(index)).ready(),
    ),
  );
  assert.deepEqual(of.calls.map((items) => items.length).sort(), [120, 500]);
});

test('an answer that got lost is asked for with the same request ID and key', async (context) => {
  const of = world(context);
  of.failWith = 'DEADLINE_EXCEEDED';
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  const ready = subscription.ready();
  await settle();
  of.failWith = undefined;
  of.clock.advance(3000);
  await settle();
  await ready;
  const [first, second] = of.calls.map(([item]) => item);
  assert.equal(first?.requestId, second?.requestId);
  assert.deepEqual(first?.csrDer, second?.csrDer);
});

test('a refusal reaches whoever waits, is not repeated at once, and ends when the entry changes', async (context) => {
  const of = world(context);
  of.refuse.set('e0', 'TTL_OUT_OF_RANGE');
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  await assert.rejects(subscription.ready(), { code: 'TTL_OUT_OF_RANGE' });
  const again = of.x509.acquire(identity(of, 0), uid(0));
  await assert.rejects(again.ready(), { code: 'TTL_OUT_OF_RANGE' });
  assert.equal(of.calls.length, 1);
  of.refuse.clear();
  of.cache.applyChanges([entryOf('e0', ['unix:uid:0'], { revision: 2 })], []);
  await settle();
  assert.ok(subscription.current() !== undefined);
});

test('a refusal that passes by itself is tried again while the caller waits', async (context) => {
  for (const code of ['ENTRY_CHANGED', 'WITHHELD', 'HSM_UNAVAILABLE', 'RATE_LIMITED'] as const) {
    const of = world(context);
    of.refuse.set('e0', code);
    const ready = of.x509.acquire(identity(of, 0), uid(0)).ready();
    await settle();
    of.refuse.clear();
    of.clock.advance(400);
    await settle();
    assert.ok((await ready).serial, code);
  }
});

test('a removed entry takes its key along at once, and gives a new one when it comes back', async (context) => {
  const of = world(context);
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  const first = await subscription.ready();
  of.cache.applyChanges([], ['e0']);
  await settle();
  assert.equal(subscription.current(), undefined);
  assert.equal(of.x509.horizon().held, 0);
  await assert.rejects(subscription.ready(), { code: 'ENTRY_NOT_AUTHORIZED' });
  of.cache.applyChanges([entryOf('e0', ['unix:uid:0'], { revision: 3 })], []);
  await settle();
  assert.ok(
    subscription.current() !== undefined && subscription.current()?.serial !== first.serial,
  );
});

test('a call under way when the right ends delivers nothing', async (context) => {
  const of = world(context);
  const { promise, resolve } = Promise.withResolvers<void>();
  of.gate = promise;
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  const ready = assert.rejects(subscription.ready(), { code: 'ENTRY_NOT_AUTHORIZED' });
  await settle();
  const entry = of.cache.get('e0');
  of.cache.applyChanges([], ['e0']);
  await settle();
  // the server had signed before it learned of the removal
  of.cache.applyChanges(
    [{ ...(entry as NonNullable<typeof entry>), selectors: selectors('unix:uid:77') }],
    [],
  );
  resolve();
  await settle();
  await ready;
  assert.equal(subscription.current(), undefined);
});

test('an SVID for another identity or key never reaches a workload', async (context) => {
  const of = world(context);
  const other = await generateKeyPairAsync('ec-p256');
  const queue = {
    sign: () =>
      Promise.resolve({
        svid: {
          spiffeId: 'spiffe://td/e0',
          serial: '01',
          chainDer: [
            makeCertificate({
              issuer: authority,
              notBefore: of.clock.now() - 30,
              notAfter: of.clock.now() + 3600,
              extensions: leafExtensions(authority, { san: extensions.san(['spiffe://td/e0']) }),
            }).parsed.raw,
          ],
          notBefore: 0,
          notAfter: of.clock.now() + 3600,
          lifetimeSeconds: 3600,
          serverTime: of.clock.now(),
          authorityId: 'a',
        },
        key: {
          privateKeyPkcs8Der: pkcs8Of(other.privateKey),
          csrDer: Buffer.alloc(0),
          spkiDer: spkiOf(other.publicKey),
        },
        sentAtMonotonicMs: 0,
      }),
  } as unknown as SigningQueue;
  const x509 = new X509Svids({
    trustDomain,
    cache: of.cache,
    queue,
    roots: () => [authority.parsed.raw],
    connected: () => true,
    clock: of.clock,
    logger: silentLogger,
    random: { uniform: () => 0.5, bytes: (length) => Buffer.alloc(length) },
    warm: 1,
    prefetch: 0,
    readyDeadlineMs: 5000,
    events: { renewed: () => {}, failed: () => {}, expiredInUse: () => {}, replaced: () => {} },
  });
  context.after(() => x509.close());
  await assert.rejects(x509.acquire(identity(of, 0), uid(0)).ready(), { code: 'SVID_INVALID' });
});

test('a replaced certificate is proven only when each holder of it has read the next one', async (context) => {
  const of = world(context);
  const [one, two] = [
    of.x509.acquire(identity(of, 0), uid(0)),
    of.x509.acquire(identity(of, 0), uid(0)),
  ];
  const first = await one.ready();
  const renew = async (revision: number): Promise<string> => {
    of.cache.applyChanges([entryOf('e0', ['unix:uid:0'], { revision })], []);
    await settle();
    of.clock.advance(3000);
    await settle();
    return one.current()?.serial ?? '';
  };
  const second = await renew(2);
  one.confirm(second);
  assert.deepEqual(of.replaced, []);
  const third = await renew(3);
  two.confirm(third);
  assert.deepEqual(of.replaced, [first.serial], 'who read the third no longer uses the first');
  one.confirm(third);
  assert.deepEqual(of.replaced, [first.serial, second]);
  two.release();
  const fourth = await renew(4);
  one.confirm(fourth);
  assert.deepEqual(of.replaced, [first.serial, second], 'the one who left may still use the third');
});

test('released identities stay warm up to the bound, unrenewed, and are forgotten with their keys', async (context) => {
  const of = world(context, { warm: 2 });
  for (const number of [0, 1, 2]) {
    const subscription = of.x509.acquire(identity(of, number), uid(number));
    await subscription.ready();
    subscription.release();
  }
  assert.equal(of.x509.horizon().held, 2);
  const calls = of.calls.length;
  of.clock.advance(1_500_000);
  await settle();
  assert.equal(of.calls.length, calls);
  const subscription = of.x509.acquire(identity(of, 2), uid(2));
  assert.ok(subscription.current() !== undefined, 'served at once');
  of.clock.advance(10);
  await settle();
  assert.equal(of.calls.length, calls + 1, 'and renewed, since it is past its time');
  of.clock.advance(3_700_000);
  await settle();
  assert.equal(of.x509.horizon().held, 1);
});

test('a bounded number of identities is obtained ahead of use', async (context) => {
  const of = world(context, { entries: 50, prefetch: 5 });
  of.x509.reconnected();
  await eventually(() => of.x509.horizon().held >= 5);
  await settle();
  assert.equal(of.x509.horizon().held, 5);
  of.cache.applyChanges([entryOf('more', ['unix:uid:1'])], ['e0', 'e1']);
  await settle();
  await eventually(() => of.x509.horizon().held >= 5);
  assert.equal(of.x509.horizon().held, 5);
});

test('the identity of a file target is not obtained for processes', async (context) => {
  const of = world(context, { entries: 2, prefetch: 5 });
  of.cache.applyChanges([entryOf('web', ['target:name:web'])], []);
  of.x509.reconnected();
  await eventually(() => of.x509.horizon().held >= 2);
  await settle();
  assert.deepEqual(
    of.x509.held().map(({ svid }) => svid.identity.entry.id),
    ['e0', 'e1'],
  );
});

test('ready gives up at its deadline and by its signal', async (context) => {
  const of = world(context);
  of.connected = false;
  const subscription = of.x509.acquire(identity(of, 0), uid(0));
  const late = assert.rejects(subscription.ready(), { code: 'UNREACHABLE' });
  const abort = new AbortController();
  const aborted = assert.rejects(subscription.ready(abort.signal), /enough/);
  abort.abort(new Error('enough'));
  await aborted;
  of.clock.advance(5001);
  await late;
});

test('kept workload keys survive a restart only while their entry gives the same identity', async (context) => {
  const files = new Map<string, StoredSvid>();
  const keyStore: WorkloadKeyStore = {
    save: (key, svid) => Promise.resolve(void files.set(key, svid)),
    remove: (key) => Promise.resolve(void files.delete(key)),
    load: () => Promise.resolve([...files.values()]),
  };
  const of = world(context, { keyStore });
  for (const number of [0, 1]) await of.x509.acquire(identity(of, number), uid(number)).ready();
  assert.equal(files.size, 2);
  const next = world(context, { keyStore });
  next.cache.applyChanges([], ['e1']);
  await next.x509.restore();
  assert.equal(next.x509.horizon().held, 1);
  const held = next.x509.acquire(identity(next, 0), uid(0)).current();
  assert.ok(held !== undefined);
  assert.equal(unwrap(parseCertificate(held.chainDer[0] as Buffer)).serialHex, held.serial);
});
