import assert from 'node:assert/strict';
import test from 'node:test';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';

test('new files belong to the last of the four IDs', () => {
  const status = 'Name:\tnode\nUid:\t0\t1\t2\t1000\nGid:\t0\t1\t2\t100\nFDSize:\t64\n';
  assert.deepEqual(effectiveUser(status), { uid: 1000, gid: 100 });
  assert.throws(() => effectiveUser('Name:\tnode\n'), /has no Uid/);
});
