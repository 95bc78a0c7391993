import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Proxy, type ProxyStream } from '../../../../../sidecar/apis/sds/proxy.ts';
import { FakeConsumers, LeapClock } from '../../../../support/local-server-fakes.ts';

const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
const web = 'spiffe://td.test/web';
const wants = (...names: readonly string[]): ReadonlySet<string> => new Set(names);

/** A stream that tells a part of its rights, and the rest as it was. */
interface TestStream extends Omit<ProxyStream, 'rights'> {
  rights(digest: Buffer, spiffeIds: readonly string[]): void;
  wantsBundles(names: ReadonlySet<string>): void;
}

function setUp(context: TestContext) {
  const registry = new FakeConsumers();
  const clock = new LeapClock();
  let rights: readonly [Buffer, readonly string[]] = [one, [web]];
  const proxy = new Proxy({
    registry,
    clock,
    holder: '1 2',
    description: 'SDS pid 1',
  });
  const streams: ProxyStream[] = [];
  const enter = (again: () => void = () => {}): TestStream => {
    const stream = proxy.enter(again);
    streams.push(stream);
    let names = wants();
    return {
      ...stream,
      rights: (...told) => stream.rights(...(rights = told), names),
      wantsBundles: (told) => stream.rights(...rights, (names = told)),
    };
  };
  // a stream that is left leaves its timer
  context.after(() => {
    for (const each of streams) each.leave();
  });
  const last = (): string => (registry.reports.at(-1) ?? '').replace(`${web} `, '').slice(0, -6);
  return { registry, clock, enter, last, proxy };
}

test('a proxy has a set when each of its subscriptions to the bundle applied it', (context) => {
  const { enter, last, registry } = setUp(context);
  const [leaf, roots, all] = [enter(), enter(), enter()];
  for (const each of [leaf, roots, all]) each.rights(one, [web]);
  leaf.sentSvid(web, 2_000_000_000);
  assert.equal(last(), 'unprovable 01');
  roots.wantsBundles(wants('ROOTCA'));
  all.wantsBundles(wants('ALL'));
  roots.sentBundle('ROOTCA', one);
  all.sentBundle('ALL', one);
  roots.appliedBundle('ROOTCA', one);
  assert.equal(last(), 'pending 01');
  all.appliedBundle('ALL', one);
  assert.equal(last(), 'confirmed 01');
  for (const each of [leaf, roots, all]) each.rights(two, [web]);
  roots.sentBundle('ROOTCA', two);
  roots.appliedBundle('ROOTCA', two);
  assert.notEqual(last(), 'confirmed 02', 'the other context has the set before');
  all.sentBundle('ALL', two);
  all.appliedBundle('ALL', two);
  assert.equal(last(), 'confirmed 02');
  assert.equal(registry.open, 1);
});

for (const [what, end] of [
  ['was not proven', () => {}],
  ['was refused', (stream: TestStream) => stream.refusedBundle('ALL', 'broken')],
  ['was the set before', (stream: TestStream) => stream.appliedBundle('ALL', one)],
] as const)
  test(`a bundle that ${what} when its stream ended is pending until a new stream proves it`, (context) => {
    const { enter, last } = setUp(context);
    const [roots, all] = [enter(), enter()];
    for (const each of [roots, all]) each.rights(one, [web]);
    roots.wantsBundles(wants('ROOTCA'));
    all.wantsBundles(wants('ALL'));
    all.sentBundle('ALL', one);
    end(all);
    all.leave();
    for (const digest of [one, two]) {
      roots.rights(digest, [web]);
      roots.sentBundle('ROOTCA', digest);
      roots.appliedBundle('ROOTCA', digest);
    }
    assert.equal(last(), 'pending 02');
    const back = enter();
    back.rights(two, [web]);
    back.wantsBundles(wants('ALL'));
    back.sentBundle('ALL', two);
    assert.equal(last(), 'pending 02');
    back.appliedBundle('ALL', two);
    assert.equal(last(), 'confirmed 02');
  });

test('a bundle of a stream that ended is not proven by one that had the same name before', (context) => {
  const { enter, last } = setUp(context);
  const [stays, ends] = [enter(), enter()];
  for (const each of [stays, ends]) {
    each.rights(one, [web]);
    each.wantsBundles(wants('ROOTCA'));
    each.sentBundle('ROOTCA', one);
  }
  stays.appliedBundle('ROOTCA', one);
  ends.leave();
  stays.rights(two, [web]);
  stays.sentBundle('ROOTCA', two);
  stays.appliedBundle('ROOTCA', two);
  assert.equal(last(), 'pending 02');
  const back = enter();
  back.rights(two, [web]);
  back.wantsBundles(wants('ROOTCA'));
  back.sentBundle('ROOTCA', two);
  back.appliedBundle('ROOTCA', two);
  assert.equal(last(), 'confirmed 02');
});

test('a bundle of a stream that ended counts until the certificate ends, however often it ends', (context) => {
  const { enter, last, clock } = setUp(context);
  const [leaf, roots] = [enter(), enter()];
  const until = clock.now() + 100;
  leaf.rights(one, [web]);
  roots.wantsBundles(wants('ROOTCA'));
  roots.sentBundle('ROOTCA', one);
  roots.appliedBundle('ROOTCA', one);
  const endUnproven = (notAfter: number): void => {
    leaf.sentSvid(web, notAfter);
    const all = enter();
    all.wantsBundles(wants('ALL'));
    all.sentBundle('ALL', one);
    all.leave();
  };
  endUnproven(until);
  assert.equal(last(), 'pending 01');
  clock.leap(90_000);
  endUnproven(until + 1000);
  assert.equal(last(), 'pending 01');
  clock.leap(20_000);
  leaf.rights(one, [web]);
  assert.equal(last(), 'confirmed 01', 'the renewed certificate does not make it count for longer');
});

test('without another bundle, one of a stream that ended proves nothing', (context) => {
  const { enter, last } = setUp(context);
  const [leaf, roots] = [enter(), enter()];
  leaf.rights(one, [web]);
  leaf.sentSvid(web, 2_000_000_000);
  roots.wantsBundles(wants('ROOTCA'));
  roots.sentBundle('ROOTCA', one);
  roots.appliedBundle('ROOTCA', one);
  assert.equal(last(), 'confirmed 01');
  roots.leave();
  assert.equal(last(), 'unprovable 01');
});

test('a refusal of a bundle or a certificate stands until the next one is applied', (context) => {
  const { enter, last, registry } = setUp(context);
  const stream = enter();
  stream.rights(one, [web]);
  stream.wantsBundles(wants('ROOTCA'));
  stream.sentBundle('ROOTCA', one);
  stream.refusedBundle('ROOTCA', 'broken');
  assert.equal(last(), 'refused 01');
  stream.rights(two, [web]);
  stream.sentBundle('ROOTCA', two);
  stream.appliedBundle('ROOTCA', two);
  assert.equal(last(), 'confirmed 02');
  stream.sentSvid(web, 2_000_000_000);
  stream.refusedSvid(web, 'no such key type');
  assert.equal(last(), 'refused 02');
  assert.match(registry.refusals.at(-1) ?? '', /no such key type/);
  stream.sentSvid(web, 2_000_000_000);
  assert.equal(last(), 'refused 02', 'it was sent, not applied');
  stream.appliedSvid(web);
  assert.equal(last(), 'confirmed 02');
});

test('when a good secret follows a refused one, each stream may send again what was refused on it', (context) => {
  const { enter } = setUp(context);
  const calls: string[] = [];
  const [leaf, roots] = [enter(() => calls.push('leaf')), enter(() => calls.push('roots'))];
  leaf.healed();
  roots.wantsBundles(wants('ROOTCA'));
  roots.refusedBundle('ROOTCA', 'the key beside it is broken');
  leaf.appliedSvid(web);
  assert.deepEqual(calls, []);
  leaf.healed();
  assert.deepEqual(calls, ['leaf', 'roots']);
  roots.leave();
  leaf.healed();
  roots.healed();
  assert.deepEqual(calls, ['leaf', 'roots'], 'nothing that was refused is left');
});

test('without a bundle it counts until the certificate ends that it had when the set appeared', (context) => {
  const { enter, clock, registry, last } = setUp(context);
  const stream = enter();
  const until = clock.now() + 100;
  stream.rights(one, [web]);
  stream.sentSvid(web, until);
  assert.match(registry.unprovables.at(-1) ?? '', /subscribes to no bundle.*counts until/);
  clock.leap(90_000);
  stream.sentSvid(web, until + 1000);
  assert.equal(registry.open, 1);
  clock.leap(20_000);
  stream.sentSvid(web, until + 2000);
  assert.equal(registry.open, 0, 'the renewed certificate does not make it count for longer');
  assert.equal(registry.reports.at(-1), 'keeps-nothing');
  stream.rights(two, [web]);
  assert.equal(last(), 'unprovable 02', 'for the next set it counts again');
  stream.leave();
});

for (const [what, toggle] of [
  [
    'begins and ends a subscription',
    (stream: TestStream) => {
      stream.wantsBundles(wants('ROOTCA'));
      stream.wantsBundles(wants());
    },
  ],
  [
    'refuses a certificate and takes it',
    (stream: TestStream) => {
      stream.refusedSvid(web, 'broken');
      stream.appliedSvid(web);
    },
  ],
] as const)
  test(`without a bundle it counts for no longer if it ${what} again and again`, (context) => {
    const { enter, clock, registry, last } = setUp(context);
    const stream = enter();
    const until = clock.now() + 100;
    stream.rights(one, [web]);
    stream.sentSvid(web, until);
    clock.leap(90_000);
    stream.sentSvid(web, until + 1000);
    toggle(stream);
    assert.equal(last(), 'unprovable 01');
    clock.leap(20_000);
    toggle(stream);
    assert.equal(registry.open, 0);
    stream.wantsBundles(wants('ROOTCA'));
    assert.equal(last(), 'pending 01');
    stream.appliedBundle('ROOTCA', one);
    stream.wantsBundles(wants());
    assert.equal(last(), 'unprovable 01', 'it had the set, and counts anew');
  });

test('without a bundle it counts for no longer if it lets a certificate end and takes another', (context) => {
  const { enter, clock, registry } = setUp(context);
  const stream = enter();
  const until = clock.now() + 100;
  stream.rights(one, [web]);
  stream.sentSvid(web, until);
  clock.leap(102_000);
  stream.rights(one, [web]);
  stream.sentSvid(web, until + 1000);
  assert.equal(registry.open, 0);
});

test('an identity that is no longer granted counts until its certificate ends', (context) => {
  const { enter, clock, registry, last } = setUp(context);
  const stream = enter();
  const until = clock.now() + 100;
  stream.rights(one, [web]);
  stream.wantsBundles(wants('ROOTCA'));
  stream.sentBundle('ROOTCA', one);
  stream.sentSvid(web, until);
  stream.appliedBundle('ROOTCA', one);
  stream.rights(one, ['spiffe://td.test/other']);
  assert.deepEqual(registry.capabilities, ['right-ended']);
  assert.equal(last(), 'confirmed 01');
  clock.leap(102_000);
  stream.rights(two, ['spiffe://td.test/other']);
  assert.match(registry.reports.at(-1) ?? '', /td\.test\/other/);
  stream.leave();
});

test('a proxy that left has no lines, and one that was cut off has new ones when it is back', (context) => {
  const { enter, registry, last, proxy } = setUp(context);
  const stream = enter();
  stream.rights(one, [web]);
  stream.sentSvid(web, 2_000_000_000);
  const second = enter();
  second.stalled('took nothing');
  assert.deepEqual(registry.stalls, ['took nothing']);
  second.leave();
  stream.rights(two, [web]);
  assert.equal(last(), 'unprovable 01', 'what it had is reported as cut off');
  stream.leave();
  stream.leave();
  assert.equal(registry.open, 1, 'the line that was cut off stays at the server');
  assert.equal(proxy.counts(2_000_000_000), true, 'its certificate may be in use');
  assert.equal(proxy.counts(2_000_000_001), false);
});

test('a stream that comes back first does not speak for those that ended with it', (context) => {
  const { enter, last, clock } = setUp(context);
  const [roots, all] = [enter(), enter()];
  const until = clock.now() + 100;
  roots.rights(one, [web]);
  roots.sentSvid(web, until);
  for (const [stream, name] of [
    [roots, 'ROOTCA'],
    [all, 'ALL'],
  ] as const) {
    stream.wantsBundles(wants(name));
    stream.sentBundle(name, one);
    stream.appliedBundle(name, one);
  }
  assert.equal(last(), 'confirmed 01');
  // the connection of both breaks
  roots.leave();
  all.leave();
  const back = (name: string): void => {
    const stream = enter();
    stream.rights(two, [web]);
    stream.wantsBundles(wants(name));
    stream.sentBundle(name, two);
    stream.appliedBundle(name, two);
  };
  back('ROOTCA');
  assert.equal(last(), 'pending 02', 'ALL is still the set before');
  back('ALL');
  assert.equal(last(), 'confirmed 02');
});

test('what ended with all streams counts until the certificate ends that it had', (context) => {
  const { enter, last, clock } = setUp(context);
  const all = enter();
  const until = clock.now() + 100;
  all.rights(one, [web]);
  all.sentSvid(web, until);
  all.wantsBundles(wants('ALL'));
  all.sentBundle('ALL', one);
  all.appliedBundle('ALL', one);
  all.leave();
  const roots = enter();
  roots.rights(two, [web]);
  roots.wantsBundles(wants('ROOTCA'));
  roots.sentBundle('ROOTCA', two);
  roots.appliedBundle('ROOTCA', two);
  roots.sentSvid(web, until + 1000);
  assert.equal(last(), 'pending 02');
  clock.leap(102_000);
  roots.rights(two, [web]);
  assert.equal(last(), 'confirmed 02');
});

test('a set and the first bundle of a stream that appear at once are pending, never unprovable', (context) => {
  const { registry, proxy } = setUp(context);
  const stream = proxy.enter(() => {});
  stream.rights(one, [web], wants());
  stream.sentSvid(web, 2_000_000_000);
  const told = registry.reports.length;
  stream.rights(two, [web], wants('ROOTCA'));
  stream.leave();
  assert.deepEqual(
    registry.reports.slice(told).map((report) => report.split(' ')[0]),
    ['pending'],
  );
});
