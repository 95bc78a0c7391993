import assert from 'node:assert/strict';
import { test } from 'node:test';
import { syncDown } from '../../../../../src/server/grpc/exchanges/sync-messages.ts';

test('a page of entries carries its position only where it has one', () => {
  const page = {
    kind: 'entries',
    snapshotBegin: true,
    snapshotEnd: false,
    upserts: [],
    removedIds: ['gone'],
  } as const;
  assert.deepEqual(syncDown({ ...page, position: undefined }), {
    entries: { snapshotBegin: true, snapshotEnd: false, upserts: [], removedIds: ['gone'] },
  });
  assert.deepEqual(syncDown({ ...page, position: { epoch: 'e', revision: 7 } }).entries?.position, {
    epoch: 'e',
    revision: 7,
  });
});

test('tainted authorities are named by the bytes of their key ID', () => {
  const { authorities } = syncDown({
    kind: 'authorities',
    tainted: [{ authorityId: 'a', subjectKeyId: '0a0b', windowSeconds: 60, taintedAt: 5 }],
    published: [{ authorityId: 'b', chainDer: [Buffer.of(1), Buffer.of(2)] }],
    crls: [],
  });
  assert.deepEqual(authorities?.tainted?.[0]?.subjectKeyId, Buffer.of(10, 11));
  assert.equal(authorities?.published?.[0]?.chainDer?.length, 2);
});
