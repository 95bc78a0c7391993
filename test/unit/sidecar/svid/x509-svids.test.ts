import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { unwrap, PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { parseSelector, TrustDomain, type Selector } from '../../../../src/common/spiffe/index.ts';
import {
  generateKeyPairAsync,
  parseCertificate,
  pkcs8Of,
  spkiOf,
} from '../../../../src/common/x509/index.ts';
import { parseCsr } from '../../../../src/certs/index.ts';
import type { SignX509SvidsRequest } from '../../../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse__Output } from '../../../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import type { Identity } from '../../../../sidecar/ports/entries.ts';
import { JwtSvids, KeyPool, SigningQueue, X509Svids } from '../../../../sidecar/svid/index.ts';
import type { StoredSvid, WorkloadKeyStore } from '../../../../sidecar/state/index.ts';
import { entryOf, eventually, FakeClock, settle } from '../../../support/agent.ts';
import {
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  type TestKey,
} from '../../../support/x509.ts';

const trustDomain = TrustDomain.of('td');
const selectors = (...texts: readonly string[]): Selector[] =>
  texts.map((text) => unwrap(parseSelector(text)));
const uid = (number: number): Selector[] => selectors(`unix:uid:${number}`);

interface World {
  readonly clock: FakeClock;
  readonly cache: SyncedEntryCache;
  readonly x509: X509Svids;
  readonly calls: NonNullable<SignX509SvidsRequest['items']>[];
  readonly replaced: string[];
  readonly failures: string[];
  expired: number;
  connected: boolean;
  failWith: ErrorCode | undefined;
  refuse: Map<string, ErrorCode>;
  authorityId: string;
  ttlSeconds: number;
  readonly issued: {
    readonly entryId: string;
    readonly requestId: string;
    readonly spki: string;
  }[];
  /** undefined: answers at once. */
  gate: Promise<void> | undefined;
}

const authority = makeAuthority('root', { notBefore: 1_799_000_000, notAfter: 1_900_000_000 });

/** Issues like a CA would; identities come from the entries. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function world(
  context: TestContext,
  options: {
    readonly warm?: number;
    readonly prefetch?: number;
    readonly keyStore?: WorkloadKeyStore;
    readonly entries?: number;
  } = {},
): World {
  const clock = new FakeClock();
  const cache = new SyncedEntryCache({ trustDomain, clock, logger: silentLogger });
  cache.applySnapshot(
    Array.from({ length: options.entries ?? 3 }, (_, index) =>
      entryOf(`e${index}`, [`unix:uid:${index}`]),
    ),
  );
  const self = {
    clock,
    cache,
    calls: [],
    replaced: [],
    failures: [],
    expired: 0,
    connected: true,
    failWith: undefined,
    refuse: new Map(),
    authorityId: 'a1',
    ttlSeconds: 3600,
    issued: [],
    gate: undefined,
  } as unknown as World & { x509: X509Svids };
  let serial = 0;
  const sign = async (request: SignX509SvidsRequest): Promise<SignX509SvidsResponse__Output> => {
    const items = request.items ?? [];
    self.calls.push(items);
    await self.gate;
    if (!self.connected) throw new PkiError('UNREACHABLE', 'away');
    const results = items.map((item) => {
      const entry = cache.get(item.entryId as string);
      const code =
        self.refuse.get(item.entryId as string) ??
        (entry === undefined ? 'ENTRY_NOT_AUTHORIZED' : undefined);
      if (code !== undefined)
        return {
          requestId: item.requestId as string,
          refusal: { code, message: 'refused', next: '', refusalId: '' },
        };
      serial += 1;
      const { spkiDer, keyType } = unwrap(parseCsr(item.csrDer as Buffer));
      self.issued.push({
        entryId: item.entryId as string,
        requestId: item.requestId as string,
        spki: spkiDer.toString('hex'),
      });
      const notAfter = clock.now() + self.ttlSeconds;
      const leaf = makeCertificate({
        key: { spkiDer, keyType } as TestKey,
        issuer: authority,
        notBefore: clock.now() - 30,
        notAfter,
        serial: Buffer.from([0x40, serial >> 8, serial & 0xff]),
        extensions: leafExtensions(authority, { san: extensions.san([entry?.spiffeId as string]) }),
      });
      return {
        requestId: item.requestId as string,
        svid: {
          spiffeId: entry?.spiffeId as string,
          serial: leaf.parsed.serialHex,
          chainDer: [leaf.parsed.raw],
          notBefore: clock.now() - 30,
          notAfter,
          lifetimeSeconds: self.ttlSeconds,
          serverTime: clock.now(),
          authorityId: self.authorityId,
          namesRootsDer: [],
        },
      };
    });
    // the answer is made, and lost on the way
    if (self.failWith !== undefined) throw new PkiError(self.failWith, 'lost');
    return { results };
  };
  const keys = new KeyPool('ec-p256', 2);
  let dice = 0;
  self.x509 = new X509Svids({
    trustDomain,
    cache,
    queue: new SigningQueue(sign, keys, clock),
    roots: () => [authority.parsed.raw],
    connected: () => self.connected,
    clock,
    logger: silentLogger,
    random: { uniform: () => (dice = (dice + 0.37) % 1), bytes: (length) => Buffer.alloc(length) },
    warm: options.warm ?? 2,
    prefetch: options.prefetch ?? 0,
    readyDeadlineMs: 5000,
    events: {
      renewed: () => {},
      failed: (code) => self.failures.push(code),
      expiredInUse: () => {
        self.expired += 1;
      },
      replaced: (each) => self.replaced.push(each),
    },
    ...(options.keyStore === undefined ? {} : { keyStore: options.keyStore }),
  });
  context.after(() => {
    self.x509.close();
    keys.close();
  });
  return self;
}

const identity = (of: World, number: number): Identity =>
  of.cache.match(uid(number))[0] as Identity;

test('those who ask in one turn share one call, and one identity is signed once for all of its holders', async (context) => {
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

test('a refusal reaches whoever waits, is not asked for again at once, and ends when the entry changes', async (context) => {
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

test('released identities stay warm up to the bound, unrenewed, and are then forgotten with their keys', async (context) => {
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

test('leaves of a tainted authority are replaced soonest expiry first, and a repeated taint moves none', async (context) => {
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

test('what was kept warm from a tainted authority is replaced within the window once it is used again', async (context) => {
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

test('the shortest life that is wanted is known before the first SVID, from the entries of those who wait', async (context) => {
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

test('kept workload keys are taken over after a restart only while their entry gives the same identity', async (context) => {
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

test('JWT-SVIDs are shared per audience set, reused to half of life, and served in an outage of the CA', async () => {
  const clock = new FakeClock();
  const cache = new SyncedEntryCache({ trustDomain, clock, logger: silentLogger });
  cache.applySnapshot([entryOf('e0', ['unix:uid:0'])]);
  let [calls, away] = [0, false];
  const jwt = new JwtSvids({
    cache,
    clock,
    logger: silentLogger,
    size: 3,
    onSigned: () => {},
    sign: () => {
      calls += 1;
      return away
        ? Promise.reject(new PkiError('UNREACHABLE', 'away'))
        : Promise.resolve({
            token: `t${calls}`,
            spiffeId: 'spiffe://td/e0',
            issuedAt: clock.now(),
            expiresAt: clock.now() + 300,
            serverTime: clock.now(),
          });
    },
  });
  const [who] = cache.match(uid(0));
  const fetch = (...audience: string[]): Promise<string> =>
    jwt.fetch(who as Identity, audience, uid(0)).then(({ token }) => token);
  assert.deepEqual(await Promise.all([fetch('a', 'b'), fetch('b', 'a'), fetch('a', 'b', 'a')]), [
    't1',
    't1',
    't1',
  ]);
  assert.equal(await fetch('a'), 't2');
  clock.advance(110_000);
  assert.equal(await fetch('a', 'b'), 't1', 'past a third it is still given');
  await settle();
  assert.equal(await fetch('a', 'b'), 't3', 'and the next one was made meanwhile');
  away = true;
  clock.advance(200_000);
  assert.equal(await fetch('a', 'b'), 't3');
  clock.advance(96_000);
  await assert.rejects(fetch('a', 'b'), { code: 'UNREACHABLE' });
  away = false;
  for (const audience of ['c', 'd', 'e', 'f']) await fetch(audience);
  assert.equal(jwt.size, 3);
  cache.applyChanges([], ['e0']);
  assert.equal(jwt.size, 0);
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
