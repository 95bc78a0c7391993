import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditEvent, ConsumerRecord } from '../../../src/domain/index.ts';
import { IssuedLeaves } from '../../../src/ledger/issued-leaves.ts';
import { contentOf, leafParts } from '../../../src/ledger/snapshot-parts.ts';
import { Watchers } from '../../../src/ledger/watchers.ts';
import { event } from '../../compliance/store/fixtures.ts';

const plane = 'spiffe://mesh.test/control';
const time = { now: 1_000_000 };
const clock = { now: () => time.now };
const leavesOf = (): IssuedLeaves =>
  new IssuedLeaves(clock, { isAgent: () => false, isRevoked: () => false });

function watchersOf(issued = leavesOf()) {
  const appended: AuditEvent[] = [];
  const audit = {
    append: (events: readonly AuditEvent[]) => {
      appended.push(...events);
      return Promise.resolve();
    },
  };
  return { issued, appended, watchers: new Watchers(audit, issued, clock) };
}

const consumer = (over: Partial<ConsumerRecord> = {}): ConsumerRecord => ({
  agentId: plane,
  id: 'pod-0',
  kind: 'control-plane',
  spiffeId: plane,
  authoritySetDigest: 'aa',
  jwtSetDigest: '',
  issuerSetDigest: '',
  capabilities: [],
  state: 'confirmed',
  reason: '',
  since: 0,
  description: '',
  ...over,
});

const pod = (instance: string) => ({ clientId: plane, instance });
const watched = event('control-plane.watched');
const nameOf = ({ id, state, departedUntil }: ConsumerRecord) => [id, state, departedUntil];

test('which processes watch is known from the log and its snapshot, recorded once a certificate', async () => {
  const { issued, appended, watchers } = watchersOf();
  const end = time.now + 3_600;
  await watchers.begin(pod('pod-0'), end, watched);
  assert.equal(appended.length, 1);
  issued.apply({ of: 'watch', holder: plane, instance: 'pod-0', notAfter: end });
  await watchers.begin(pod('pod-0'), end, watched);
  assert.equal(appended.length, 1, 'the log says so already');
  await watchers.begin(pod('pod-1'), end, watched);
  assert.equal(appended.length, 2, 'another process has the same certificate');
  await watchers.begin(pod('pod-0'), end + 1, watched);
  assert.equal(appended.length, 3, 'a renewed certificate ends later');
  const restored = leavesOf();
  restored.restore(contentOf(leafParts(issued.copy())).issued);
  const afterRestart = watchersOf(restored).watchers;
  assert.deepEqual([...afterRestart.known()], [[plane, end]]);
  assert.deepEqual(afterRestart.instances(plane), ['pod-0']);
  time.now += 3 * 86_400;
  assert.deepEqual([...issued.watchers()], [], 'long after its end it is forgotten');
  time.now -= 3 * 86_400;
});

test('a process that the log has and that told nothing holds nothing, and no other speaks for it', () => {
  const { issued, watchers } = watchersOf();
  const end = time.now + 600;
  for (const instance of ['pod-0', 'pod-1'])
    issued.apply({ of: 'watch', holder: plane, instance, notAfter: end });
  watchers.report(pod('pod-0'), { consumers: [consumer()], namesAllHolders: true });
  assert.deepEqual(watchers.consumers().map(nameOf), [
    ['pod-0', 'confirmed', undefined],
    ['pod-1', 'pending', end],
  ]);
  assert.deepEqual(watchers.namingAllHolders(), []);
  watchers.report(pod('pod-1'), {
    consumers: [consumer({ id: 'pod-1' })],
    namesAllHolders: true,
  });
  assert.deepEqual(watchers.namingAllHolders(), [plane]);
});

test('a process that has left is waited for no more, whatever older records say', async () => {
  const { issued, appended, watchers } = watchersOf();
  const watching = { holder: plane, instance: 'pod-0', notAfter: time.now + 600 };
  issued.apply({ of: 'watch', ...watching });
  const before = issued.copy();
  watchers.report(pod('pod-0'), { consumers: [consumer()], namesAllHolders: false });
  const left = event('control-plane.left');
  await watchers.leave(pod('pod-0'), (notAfter) => ({ ...left, detail: { notAfter } }));
  assert.deepEqual(appended, [{ ...left, detail: { notAfter: watching.notAfter } }]);
  issued.apply({ of: 'left', ...watching });
  const older = leavesOf();
  older.restore(before);
  issued.complete(older);
  assert.deepEqual([[...watchers.known()], watchers.consumers()], [[], []]);
  await watchers.leave(pod('pod-0'), () => left);
  assert.equal(appended.length, 1, 'it has left already');
  issued.apply({ of: 'watch', ...watching });
  assert.deepEqual(watchers.instances(plane), ['pod-0'], 'it is back under its name');
});

test('all holders are named only while every process of the control plane says so', () => {
  const { watchers } = watchersOf();
  const one = { clientId: plane, instance: 'pod-0' };
  const two = { clientId: plane, instance: 'pod-1' };
  watchers.report(one, { consumers: [consumer()], namesAllHolders: true });
  assert.deepEqual(watchers.namingAllHolders(), [plane]);
  watchers.report(two, { consumers: [consumer({ id: 'pod-1' })], namesAllHolders: false });
  assert.deepEqual(watchers.namingAllHolders(), []);
  assert.equal(watchers.consumers().length, 2);
  watchers.forget(two);
  assert.deepEqual(watchers.namingAllHolders(), [plane]);
  watchers.forget(one);
  assert.deepEqual([watchers.namingAllHolders(), watchers.consumers()], [[], []]);
});

test('the time of a confirmation is that of the first report with the same content', () => {
  const { watchers } = watchersOf();
  const id = { clientId: plane, instance: 'pod-0' };
  const tell = (authoritySetDigest: string): number | undefined => {
    watchers.report(id, { consumers: [consumer({ authoritySetDigest })], namesAllHolders: false });
    return watchers.consumers()[0]?.heardAt;
  };
  const first = tell('aa');
  time.now += 10;
  assert.equal(tell('aa'), first);
  assert.equal(tell('bb'), time.now);
});

test('certificates of holders that are named do not count as unheld', () => {
  const { issued } = watchersOf();
  const notAfter = time.now + 600;
  issued.apply({
    of: 'leaf',
    kind: 'delegated',
    holder: plane,
    serial: '0a0b',
    authorityId: 'a',
    atMs: time.now * 1_000,
    notAfter,
  });
  assert.equal(issued.unheldUntil(time.now), notAfter);
  assert.equal(issued.unheldUntil(time.now, [plane]), 0);
});
