import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deletedObject, type LogObject } from '../../../src/domain/index.ts';
import { Objects } from '../../../src/ledger/objects.ts';
import { objectParts } from '../../../src/ledger/snapshot-parts.ts';

const said = (id: string, subject: string, admin: boolean, object?: LogObject) => ({
  ...(object ?? { kind: 'entry' as const, id, sha256: 'ab' }),
  act: 'entry.created',
  subject,
  detail: { entry: id, admin },
});

test('an ID is that of an admin while the record of an entry says so', () => {
  const objects = new Objects();
  objects.apply(said('1', 'anna', true), 1);
  objects.apply(said('2', 'anna', true), 2);
  objects.apply(said('3', 'web', false), 3);
  assert.deepEqual(
    ['anna', 'web'].map((id) => objects.isAdminId(id)),
    [true, false],
  );
  objects.apply(said('1', 'anna', true, deletedObject('entry', '1')), 4);
  assert.equal(objects.isAdminId('anna'), true, 'another entry says so');
  objects.apply(said('2', 'otto', true), 5);
  assert.deepEqual(
    ['anna', 'otto'].map((id) => objects.isAdminId(id)),
    [false, true],
  );
  objects.apply(said('2', 'anna', true), 2);
  assert.equal(objects.isAdminId('anna'), false, 'an older record does not count');
  objects.apply(said('2', 'otto', false), 6);
  assert.equal(objects.isAdminId('otto'), false);
});

test('a copy of the memory knows the same admins', () => {
  const objects = new Objects();
  objects.apply(said('1', 'anna', true), 1);
  const other = new Objects();
  other.restore(objects.copy());
  assert.equal(other.isAdminId('anna'), true);
  assert.deepEqual([...objectParts(other.copy())], [...objectParts(objects.copy())]);
});
