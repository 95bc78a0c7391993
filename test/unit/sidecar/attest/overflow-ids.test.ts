import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OverflowIds } from '../../../../sidecar/attest/overflow-ids.ts';
import type { Proc } from '../../../../sidecar/attest/proc.ts';

const nobody = 65_534;
const own = 'user:[1]';

/** A node where process 10 lives in our user namespace, 11 in another one, and 12 is gone. */
const proc: Proc = {
  read: () => undefined,
  link: (pid) =>
    ({ self: Buffer.from(own), 10: Buffer.from(own), 11: Buffer.from('user:[2]') })[pid],
};

const withMap = (map: string): OverflowIds => {
  const space = { overflowId: nobody, map };
  return new OverflowIds(space, space, proc);
};

/** Unknown, as uid and as gid alike. */
const unknown = (map: string, id: number, pid: number): boolean => {
  const ids = withMap(map);
  const answer = ids.isUnknownUid(id, pid);
  assert.equal(ids.isUnknownGid(id, pid), answer);
  return answer;
};

test('where our user namespace knows all IDs, 65534 is a real user, in whatever namespace it runs', () => {
  for (const map of ['         0          0 4294967295\n', '0 0 65536\n65536 65536 4294901759\n'])
    for (const pid of [10, 11, 12]) assert.equal(unknown(map, nobody, pid), false);
});

test('elsewhere 65534 is real only for a process in our own user namespace', () => {
  const map = '0 100000 65536\n';
  assert.equal(unknown(map, nobody, 10), false);
  assert.equal(unknown(map, nobody, 11), true);
  assert.equal(unknown(map, nobody, 12), true);
});

test('where our user namespace has no ID 65534, nobody has it', () => {
  for (const map of ['0 100000 1000\n', '0 100000 65534\n', '65535 100000 1\n', ''])
    for (const pid of [10, 11, 12]) assert.equal(unknown(map, nobody, pid), true, map);
});

test('other IDs are what the kernel says', () => {
  for (const pid of [10, 11, 12]) assert.equal(unknown('0 100000 1000\n', 7, pid), false);
});
