import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Consumers } from '../../../../sidecar/sync/index.ts';
import { issuerContract } from '../../../../src/common/wire/index.ts';
import { FakeClock } from '../../../support/agent.ts';

const firstOctet = (bytes: unknown): number | undefined => (bytes as Buffer | undefined)?.[0];
const digest = (fill: number): Buffer => Buffer.alloc(32, fill);
const web = {
  kind: 'workload-stream',
  spiffeId: 'spiffe://td.test/web',
  description: 'FetchX509SVID pid 7 uid 0',
  holder: '7 100',
} as const;

function world() {
  const clock = new FakeClock();
  let holdings = 0;
  const consumers = new Consumers(
    clock,
    () => {},
    () => {
      holdings += 1;
    },
  );
  consumers.snapshot();
  const lines = () => consumers.snapshot().consumers;
  return { clock, consumers, lines, holdings: () => holdings };
}

test('a workload that leaves with a certificate counts with the set that it read, until expiry', () => {
  const { clock, consumers, lines } = world();
  const handle = consumers.register(web);
  handle.pending(digest(1));
  handle.given(clock.now() + 60);
  handle.confirmed(digest(1));
  handle.pending(digest(2));
  handle.remove();
  const [line, ...others] = lines();
  assert.equal(others.length, 0);
  assert.deepEqual(
    [line?.state, firstOctet(line?.authoritySetDigest), line?.spiffeId],
    ['confirmed', 1, web.spiffeId],
    'what was only sent is not held for certain',
  );
  assert.equal(line?.capabilities?.includes('departed'), true);
  assert.equal(line?.departedUntil, clock.now() + 60);
  clock.advance(59_000);
  assert.equal(lines().length, 1);
  clock.advance(8_000);
  assert.equal(lines().length, 0);
});

test('a workload that says that it keeps nothing leaves nothing behind', () => {
  const { clock, consumers, lines } = world();
  const handle = consumers.register(web);
  handle.pending(digest(1));
  handle.given(clock.now() + 60);
  handle.confirmed(digest(1));
  handle.keepsNothing();
  handle.remove();
  assert.deepEqual(lines(), []);
  assert.deepEqual([...consumers.holdings()], []);
});

test('one that has not read, or has refused, what is newer is reported with what it read before', () => {
  const { consumers, lines } = world();
  const handle = consumers.register(web);
  const told = () =>
    lines().map(({ state, authoritySetDigest }) => [state, firstOctet(authoritySetDigest)]);
  handle.pending(digest(1));
  handle.confirmed(digest(1));
  handle.pending(digest(2));
  assert.deepEqual(told(), [['pending', 1]]);
  handle.refused(digest(2), 'no');
  assert.deepEqual(told(), [['refused', 1]]);
  handle.confirmed(digest(2));
  assert.deepEqual(told(), [['confirmed', 2]]);
});

test('one that never was given anything leaves nothing behind', () => {
  const { consumers, lines } = world();
  const handle = consumers.register(web);
  handle.pending(digest(1));
  handle.confirmed(digest(1));
  handle.remove();
  assert.equal(lines().length, 0);
});

test('a process that reads again settles what it left, but another process of its identity does not', () => {
  const { clock, consumers, lines } = world();
  const leave = (holder: string): void => {
    const handle = consumers.register({ ...web, holder });
    handle.pending(digest(1));
    handle.given(clock.now() + 600);
    handle.confirmed(digest(1));
    handle.remove();
  };
  leave('7 100');
  leave('8 200');
  assert.deepEqual(
    lines().map(({ description }) => description),
    ['2 processes, the last one FetchX509SVID pid 7 uid 0'],
  );
  const back = consumers.register(web);
  back.pending(digest(2));
  assert.equal(lines().length, 2, 'not by connecting alone');
  back.confirmed(digest(2));
  assert.equal(lines().filter(({ capabilities }) => capabilities?.includes('departed')).length, 1);
  const other = consumers.register({ ...web, holder: '8 200' });
  other.pending(digest(2));
  other.confirmed(digest(2));
  assert.deepEqual(
    lines().map(({ capabilities }) => capabilities?.includes('departed')),
    [false, false],
  );
});

test('one that is cut off stays by name until its process reads again, or its certificate has expired', () => {
  const { clock, consumers, lines } = world();
  const frozen = consumers.register(web);
  frozen.pending(digest(1));
  frozen.given(clock.now() + 600);
  frozen.confirmed(digest(1));
  frozen.pending(digest(2));
  frozen.stalled('took no message for 30 s');
  frozen.remove();
  assert.deepEqual(
    lines().map(({ state, description }) => [state, description]),
    [['refused', web.description]],
  );
  const back = consumers.register(web);
  back.pending(digest(2));
  back.confirmed(digest(2));
  assert.deepEqual(
    lines().map(({ state }) => state),
    ['confirmed'],
  );
  back.pending(digest(3));
  back.given(clock.now() + 10);
  back.stalled('took no message for 30 s');
  back.remove();
  assert.equal(lines().length, 1);
  clock.advance(16_000);
  assert.equal(lines().length, 0);
});

test('thousands that come and go are one line, and are forgotten when the last certificate has expired', () => {
  const { clock, consumers, lines } = world();
  for (let each = 0; each < 5000; each += 1) {
    const handle = consumers.register({ ...web, holder: `${each} 1` });
    handle.pending(digest(1));
    handle.given(clock.now() + 60 + (each % 10));
    handle.confirmed(digest(1));
    handle.remove();
  }
  assert.equal(lines().length, 1);
  assert.match(lines()[0]?.description as string, /^5000 processes/);
  clock.advance(66_000);
  assert.equal(lines().length, 1);
  clock.advance(10_000);
  assert.equal(lines().length, 0);
});

test('holders are known again after a restart, as ones of whom nothing more is known', () => {
  const { clock, consumers } = world();
  const handle = consumers.register(web);
  handle.pending(digest(1));
  handle.given(clock.now() + 60);
  handle.confirmed(digest(1));
  const kept = JSON.parse(JSON.stringify([...consumers.holdings()])) as Parameters<
    Consumers['restore']
  >[0];
  const again = new Consumers(clock, () => {});
  again.restore(kept);
  assert.deepEqual(
    again.snapshot().consumers.map(({ state, capabilities }) => [state, capabilities?.[0]]),
    [['confirmed', 'departed']],
  );
  const expired = new Consumers(clock, () => {});
  clock.advance(61_000);
  expired.restore(kept);
  assert.equal(expired.snapshot().consumers.length, 0);
});

test('changes tell of groups that came and went, and never of what the server was not told', () => {
  const { clock, consumers } = world();
  const handle = consumers.register(web);
  handle.pending(digest(1));
  handle.given(clock.now() + 10);
  const first = consumers.drain();
  assert.equal(first?.consumers.length, 1);
  handle.remove();
  const second = consumers.drain();
  assert.deepEqual(second?.removedIds, [first?.consumers[0]?.id]);
  assert.deepEqual(
    second?.consumers.map(({ state }) => state),
    ['pending'],
  );
  clock.advance(16_000);
  assert.deepEqual(consumers.drain()?.removedIds, [second?.consumers[0]?.id]);
  assert.equal(consumers.drain(), undefined);
});

test('readers of JWT keys report those, the agent itself all three sets', () => {
  const { consumers, lines } = world();
  const reader = consumers.register({ ...web, takes: 'jwt' });
  reader.pending(digest(5));
  reader.confirmed(digest(5));
  consumers
    .registerAgent('spiffe://td.test/meshca/agent/n', 'meshca agent')
    .hold(digest(1), { jwt: digest(2), issuers: digest(3) });
  const [jwt, agent] = lines();
  assert.deepEqual(
    [(jwt?.authoritySetDigest as Buffer | undefined)?.length, firstOctet(jwt?.jwtSetDigest)],
    [0, 5],
  );
  assert.deepEqual(
    [
      agent?.kind,
      firstOctet(agent?.authoritySetDigest),
      firstOctet(agent?.jwtSetDigest),
      firstOctet(agent?.issuerSetDigest),
    ],
    ['agent', 1, 2, 3],
  );
});

test('of a set that is inferred the server is told so, also after a restart', () => {
  const { clock, consumers, lines } = world();
  const issued = (fill: number): void => {
    const handle = consumers.register({ ...web, inferred: true });
    handle.given(clock.now() + 60);
    handle.confirmed(digest(fill));
    handle.remove();
  };
  issued(1);
  const restarted = world();
  restarted.consumers.restore(JSON.parse(JSON.stringify([...consumers.holdings()])));
  for (const [line, ...others] of [lines(), restarted.lines()]) {
    assert.equal(others.length, 0);
    assert.deepEqual(
      [line?.state, firstOctet(line?.authoritySetDigest), line?.capabilities],
      ['confirmed', 1, ['departed', 'reports-roots', 'inferred']],
    );
  }
  issued(2);
  assert.deepEqual(
    lines().map(({ authoritySetDigest }) => firstOctet(authoritySetDigest)),
    [2],
    'the next certificate of the process settles the one before',
  );
});

test('a report of as many lines as there can be is one that the server takes', () => {
  const { services } = issuerContract();
  const { Sync } = services['meshca.issuer.v1.AgentIssuer'] as unknown as {
    readonly Sync: { readonly requestSerialize: (message: object) => Buffer };
  };
  const { consumers } = world();
  const spiffeId = `spiffe://td.test/${'x'.repeat(80)}`;
  for (let line = 0; line < 9_000; line += 1) {
    const handle = consumers.register({
      ...{ ...web, spiffeId, holder: `${line} 1` },
      description: '\u5b57'.repeat(500),
    });
    handle.refused(digest(1), '\u5b57'.repeat(500));
  }
  const drained = consumers.drain();
  assert.equal(drained?.consumers.length, 9_000);
  for (const report of [drained, consumers.snapshot()])
    assert.ok(Sync.requestSerialize({ consumers: report }).length < 4 * 1024 * 1024);
});
