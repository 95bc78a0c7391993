import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  loggedObject,
  preparingAuthority,
  type Authority,
  type ObjectMismatch,
  type RotationOperation,
} from '../../../src/domain/index.ts';
import { ledgerAuthorities, standingOf } from '../../../src/ledger/authorities.ts';
import { Objects } from '../../../src/ledger/objects.ts';
import type { AuthorityStore } from '../../../src/store/ports/index.ts';

const authority = (id: string, state: Authority['state'] = 'active'): Authority => ({
  ...preparingAuthority({
    ...{ id, kind: 'issuing', keyType: 'ec-p256', token: 'issuing', ckaId: id },
    ...{ parentId: null, createdAt: 1 },
  }),
  state,
});
const rotation: RotationOperation = {
  ...{ id: 'op', kind: 'issuing', state: 'running', version: 0, createdBy: 'uid:0' },
  ...{ createdAt: 1, updatedAt: 1 },
  spec: {
    ...{ successorId: 'next', targets: [], targetsBecome: 'old', parentId: null },
    ...{ trigger: 'operator', shares: { proven: 1, inferred: 1, unprovable: 1 } },
  },
};

/** A memory in which these are on record, and rows that a test changes. */
function world() {
  const objects = new Objects();
  const announced: ObjectMismatch[] = [];
  objects.onMismatch((mismatch) => void announced.push(mismatch));
  const rows = { authorities: [] as Authority[], rotations: [] as RotationOperation[] };
  const record = (kind: 'authority' | 'rotation', act: string, value: never, sequence: number) =>
    objects.apply(
      { ...loggedObject(kind, value), act, subject: 's', detail: { authorityKind: 'issuing' } },
      sequence,
    );
  const standing = () =>
    standingOf(
      {
        authorities: { list: () => Promise.resolve(rows.authorities) },
        rotations: { list: () => Promise.resolve(rows.rotations) },
      },
      objects,
    );
  const store = {
    list: () => Promise.resolve(rows.authorities),
    byId: (id: string) => Promise.resolve(rows.authorities.find((row) => row.id === id)),
  } as Partial<AuthorityStore> as AuthorityStore;
  const authorities = ledgerAuthorities(store, objects, standing);
  return { objects, announced, rows, record, standing, authorities };
}

test('what the log has exists, though its row was altered or taken away', async () => {
  const { rows, record, standing, announced } = world();
  record('authority', 'authority.active', authority('a') as never, 1);
  record('authority', 'authority.active', authority('b') as never, 2);
  record('rotation', 'rotation.opened', rotation as never, 3);
  rows.authorities = [authority('a'), authority('b')];
  rows.rotations = [rotation];
  assert.deepEqual((await standing()).altered, []);
  rows.authorities = [authority('a', 'retired')];
  rows.rotations = [];
  const { altered, authorities } = await standing();
  assert.deepEqual(
    altered.map(({ object, id, kind }) => `${object} ${id} ${kind}`),
    ['authority a issuing', 'authority b issuing', 'rotation op issuing'],
  );
  assert.deepEqual(authorities, []);
  assert.deepEqual([...new Set(announced.map(({ id }) => id))].sort(), ['a', 'b', 'op']);
});

test('what has ended, and a row that the log does not know, hold up nothing', async () => {
  const { rows, record, standing } = world();
  record('authority', 'authority.retired', authority('a', 'retired') as never, 1);
  record('rotation', 'rotation.opened', rotation as never, 2);
  record('rotation', 'rotation.done', { ...rotation, state: 'done' } as never, 3);
  rows.authorities = [authority('a'), authority('foreign')];
  assert.deepEqual(await standing(), { authorities: [], operations: [], altered: [] });
});

test('whoever asks whether there is an authority is refused while one is altered', async () => {
  const { rows, record, authorities } = world();
  record('authority', 'authority.active', authority('a') as never, 1);
  rows.authorities = [authority('a', 'retired')];
  const refused = { code: 'OBJECT_NOT_IN_LOG' };
  await assert.rejects(authorities.list(), refused);
  await assert.rejects(authorities.list({ kind: 'issuing' }), refused);
  await assert.rejects(authorities.byId('a'), refused);
  assert.deepEqual(await authorities.list({ kind: 'log' }), [], 'it is of another kind');
  rows.authorities = [authority('a')];
  assert.equal((await authorities.list({ states: ['active'] })).length, 1);
  assert.equal((await authorities.byId('a'))?.id, 'a');
});
