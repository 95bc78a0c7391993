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

test('who watches is known from the log and from its snapshot, and is recorded once a certificate', async () => {
  const { issued, appended, watchers } = watchersOf();
  const end = time.now + 3_600;
  await watchers.begin(plane, end, event('control-plane.watched'));
  assert.equal(appended.length, 1);
  issued.apply({ of: 'watch', holder: plane, notAfter: end });
  await watchers.begin(plane, end, event('control-plane.watched'));
  assert.equal(appended.length, 1, 'the log says so already');
  await watchers.begin(plane, end + 1, event('control-plane.watched'));
  assert.equal(appended.length, 2, 'a renewed certificate ends later');
  const restored = leavesOf();
  restored.restore(contentOf(leafParts(issued.copy())).issued);
  assert.deepEqual([...restored.watchers()], [[plane, end]]);
  time.now += 3 * 86_400;
  assert.deepEqual([...issued.watchers()], [], 'long after its end it is forgotten');
  time.now -= 3 * 86_400;
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
