import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Proxies } from '../../../../../sidecar/apis/sds/proxies.ts';
import { FakeConsumers, LeapClock } from '../../../../support/local-server-fakes.ts';

const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
const web = 'spiffe://td.test/web';

function setUp() {
  const registry = new FakeConsumers();
  const clock = new LeapClock();
  const proxies = new Proxies(registry, clock);
  const session = { connection: { pid: 7, uid: 0, peer: { image: { startTime: '1' } } } };
  /** A stream for the own bundle that applies the set. */
  const enter = (name: string, digest: Buffer) => {
    const stream = proxies.enter(
      session as unknown as Parameters<Proxies['enter']>[0],
      '',
      () => {},
    );
    stream.rights(digest, [web], new Set([name]));
    stream.sentBundle(name, digest);
    stream.appliedBundle(name, digest);
    return stream;
  };
  const last = (): string => (registry.reports.at(-1) ?? '').replace(`${web} `, '').slice(0, -6);
  return { clock, enter, last };
}

test('a proxy whose connection broke is proven when each of its names is back', () => {
  const { clock, enter, last } = setUp();
  const [roots, all] = [enter('ROOTCA', one), enter('ALL', one)];
  roots.sentSvid(web, clock.now() + 100);
  roots.leave();
  all.leave();
  const first = enter('ROOTCA', two);
  assert.equal(last(), 'pending 02');
  const second = enter('ALL', two);
  assert.equal(last(), 'confirmed 02');
  first.leave();
  second.leave();
});

test('a proxy without streams is remembered until its certificate has ended', () => {
  const { clock, enter, last } = setUp();
  const all = enter('ALL', one);
  all.sentSvid(web, clock.now() + 100);
  all.leave();
  clock.leap(102_000);
  const roots = enter('ROOTCA', two);
  assert.equal(last(), 'confirmed 02');
  roots.leave();
});
