import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { parseCrl } from '../../../../src/common/x509/index.ts';
import { crlId, type StoredCrl } from '../../../../src/domain/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { day, ca, world, settled } from './publisher-support.ts';

/** Leaves of a names authority with four in a shard, as the log tells of them. */
function namesSetup() {
  const clock = new FakeClock();
  const issuing = ca(clock, 'names-issuing', ca(clock, 'root', undefined), { token: 'issuing' });
  const parts = world(clock, [issuing.authority], issuing);
  const { id } = issuing.authority;
  const issue = (notAfter: number) => {
    const assigned = parts.allocator.assign(id);
    assert.ok(assigned !== undefined);
    const { shard, url, isNew } = assigned;
    parts.shards.applyLeaf({ authorityId: id, shard, notAfter, url: isNew ? url : '' });
    return assigned;
  };
  const revoke = (serial: string, shard: number, notAfter: number): void => {
    const [reason, revokedBy, revokedAt] = ['superseded', 'uid:0', clock.now()] as const;
    parts.revoked.add({ serial, authorityId: id, reason, revokedAt, revokedBy, notAfter, shard });
  };
  const read = (shard: number) => {
    const { der } = parts.crls.get(crlId(id, shard)) as StoredCrl;
    return unwrap(parseCrl(der, { ofShards: true }));
  };
  return { ...parts, clock, id, issuing, issue, revoke, read };
}

test('a names authority has a CRL for each shard before its leaves are issued, and no complete one', async () => {
  const { clock, publisher, crls, events, id, issue, revoke, read, moved } = namesSetup();
  await publisher.start();
  const [first] = [...crls.values()].map(({ shard }) => shard);
  assert.deepEqual([crls.size, publisher.set()], [1, []], 'no agent is sent any');
  const leaves = Array.from({ length: 9 }, () => issue(clock.now() + 30 * day));
  const numbers = [...new Set(leaves.map(({ shard }) => shard))];
  assert.deepEqual([numbers.length, numbers[0]], [3, first]);
  assert.deepEqual([leaves[0]?.isNew, leaves[8]?.isNew], [false, true]);
  await settled(clock, 2);
  for (const { shard, url } of leaves) assert.equal(read(shard).distributionPoint, url);
  const signed = (): number => events.length;
  const before = signed();
  revoke('0a', leaves[5]?.shard ?? 0, clock.now() + 30 * day);
  moved();
  await settled(clock, 2);
  assert.equal(signed(), before + 1, 'the CRLs of the other shards stay');
  assert.deepEqual([...read(leaves[5]?.shard ?? 0).revoked.keys()], ['0a']);
  assert.equal((await publisher.crl(id, first)).length > 0, true);
  await assert.rejects(publisher.crl(id), { code: 'NOT_FOUND' });
  assert.deepEqual(
    publisher.standings().map(({ state, shards }) => [state, shards]),
    [['current', numbers.length]],
  );
  await publisher.close();
});

test('an ended shard has one more CRL, which is then removed; a later start signs none of it', async () => {
  const { clock, publisher, crls, issue, revoke, read, events, moved, ...parts } = namesSetup();
  const ends = clock.now() + day;
  const { shard } = issue(ends);
  revoke('0a', shard, ends);
  for (let more = 0; more < 3; more += 1) issue(ends);
  for (let more = 0; more < 4; more += 1) issue(clock.now() + 60 * day);
  await publisher.start();
  await settled(clock, day + 400);
  await settled(clock, 200);
  assert.ok(read(shard).thisUpdate > ends);
  assert.deepEqual([...read(shard).revoked.keys()], ['0a'], 'RFC 5280, section 3.3');
  await settled(clock, 8 * day);
  const removed = events.filter(({ kind }) => kind === 'crl.removed');
  assert.deepEqual(
    removed.map(({ detail }) => detail['shard']),
    [shard],
  );
  await publisher.close();
  const { revoked, shards, issuing } = parts;
  assert.equal(shards.get(issuing.authority.id, shard), undefined);
  const later = world(clock, [issuing.authority], issuing, { crls, revoked, shards });
  await later.publisher.start();
  moved();
  assert.equal(crls.has(crlId(issuing.authority.id, shard)), false);
  await later.publisher.close();
});

test('in the mesh the complete CRL lists what is on those of the shards, and alone goes to agents', async () => {
  const clock = new FakeClock();
  const issuing = ca(clock, 'issuing', ca(clock, 'root', undefined), { token: 'issuing' });
  const { publisher, allocator, revoked, shards, crls, moved } = world(
    clock,
    [issuing.authority],
    issuing,
  );
  const { id } = issuing.authority;
  await publisher.start();
  assert.equal(crls.size, 1, 'shards are opened by their first leaf');
  const { shard, url } = allocator.assign(id) as { shard: number; url: string };
  const notAfter = clock.now() + day;
  shards.applyLeaf({ authorityId: id, shard, notAfter, url });
  const of = { authorityId: id, reason: 'superseded', revokedBy: 'uid:0' } as const;
  for (const [serial, each] of [
    ['0a', shard],
    ['0b', 0],
  ] as const)
    revoked.add({ ...of, serial, revokedAt: clock.now(), notAfter, shard: each });
  moved();
  await settled(clock, 2);
  const [complete] = publisher.set().map(({ der }) => unwrap(parseCrl(der)));
  assert.deepEqual([...(complete?.revoked.keys() ?? [])].sort(), ['0a', '0b']);
  assert.equal(publisher.set().length, 1);
  const ofShard = unwrap(parseCrl(await publisher.crl(id, shard), { ofShards: true }));
  assert.deepEqual([...ofShard.revoked.keys()], ['0a']);
  await publisher.close();
});
