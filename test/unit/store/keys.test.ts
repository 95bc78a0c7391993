import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { fromHex, fromHexOrUndefined } from '../../../src/store/sqlite/codec.ts';
import { numberKey, pageSize, toPage } from '../../../src/store/sqlite/paging.ts';
import { requestKey } from '../../../src/store/sqlite/request-key.ts';

const digest = 'ab'.repeat(32);

test('keys of requests grow with the time of their UUIDv7, and differ by requester, ID and key', () => {
  const id = uuidv7(1_800_000_000_000);
  const earlier = requestKey('a', id, digest);
  const later = requestKey('a', uuidv7(1_800_000_000_001), digest);
  assert.ok(earlier !== null && later !== null && Buffer.compare(earlier, later) < 0);
  assert.deepEqual(requestKey('a', id, digest), earlier);
  for (const other of [requestKey('b', id, digest), requestKey('a', id, 'cd'.repeat(32))])
    assert.notDeepEqual(other, earlier);
});

test('a request without ID has no key, and one with another kind of ID has one of the same length', () => {
  assert.equal(requestKey('a', '', digest), null);
  for (const id of ['x', 'ZZZZZZZZ-ZZZZ-', '01a20f60-860f', '01a20f60-860f-', 'é'.repeat(40)])
    assert.equal(requestKey('a', id, digest)?.length, 22, id);
});

test('neither of the three parts of a request can imitate the border to the next', () => {
  assert.notDeepEqual(requestKey('a', 'b\nc', digest), requestKey('a\nb', 'c', digest));
});

test('hex is whole bytes or an error', () => {
  assert.equal(fromHex('00ff', 'x').length, 2);
  for (const bad of ['', '0', 'zz', '00zz', '00 ', '0x00']) {
    assert.throws(
      () => fromHex(bad, 'x'),
      (error) => error instanceof PkiError && error.code === 'INVALID_REQUEST',
    );
    assert.equal(fromHexOrUndefined(bad), undefined);
  }
});

test('page sizes are brought inside their limits, and cursors are whole numbers', () => {
  assert.deepEqual(
    [-1, 0, 1.9, 1000, 1e9].map((size) => pageSize({ size })),
    [1, 1, 1, 1000, 1000],
  );
  assert.equal(numberKey(undefined, 1), undefined);
  assert.deepEqual(numberKey('12.34', 2), [12, 34]);
  for (const bad of ['a', '1.5', '1.', '99999999999999999', ' 1', '1 OR 1=1']) {
    assert.throws(
      () => numberKey(bad, 1),
      (error) => error instanceof PkiError && error.code === 'INVALID_REQUEST',
      bad,
    );
  }
  assert.deepEqual(
    toPage([1, 2, 3], 2, (row) => row * 10, String),
    { items: [10, 20], next: '2' },
  );
  assert.deepEqual(
    toPage([1, 2], 2, (row) => row, String),
    { items: [1, 2], next: undefined },
  );
});
