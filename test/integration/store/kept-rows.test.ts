import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import { Engine } from '../../../src/store/sqlite/engine.ts';
import { createIssuance } from '../../../src/store/sqlite/issuance.ts';
import { KeptRows } from '../../../src/store/sqlite/kept-rows.ts';

interface World {
  readonly engine: Engine;
  /** A right reads the row: its value, and whether the database was asked. */
  readonly look: () => { readonly value: number; readonly wasRead: boolean };
  readonly change: (value: number) => void;
}

function world(): World {
  const database = new DatabaseSync(':memory:');
  database.exec('CREATE TABLE t (value INTEGER); INSERT INTO t VALUES (1)');
  const engine = new Engine({ database, clock: systemClock, logger: silentLogger });
  const kept = new KeptRows(engine);
  const look = () => {
    let wasRead = false;
    const row = kept.row('t', () => {
      wasRead = true;
      return engine.get('SELECT value FROM t', []) as { value: number };
    });
    return { value: row!.value, wasRead };
  };
  return { engine, look, change: (value) => void engine.run('UPDATE t SET value = ?', [value]) };
}

test('a row is read once for the writes of issuance that follow each other', async () => {
  const { engine, look } = world();
  assert.deepEqual(await engine.writeIssuance(look), { value: 1, wasRead: true });
  assert.deepEqual(await engine.writeIssuance(look), { value: 1, wasRead: false });
});

test('a row is read again behind another write, in the same commit as well', async () => {
  const { engine, look, change } = world();
  await engine.writeIssuance(look);
  const [, now] = await Promise.all([engine.write(() => change(2)), engine.writeIssuance(look)]);
  assert.deepEqual(now, { value: 2, wasRead: true });
});

test('a write that is not of issuance reads each time, and leaves no row behind', async () => {
  const { engine, look, change } = world();
  await engine.writeIssuance(look);
  await engine.write(() => {
    assert.equal(look().wasRead, true);
    change(2);
    assert.deepEqual(look(), { value: 2, wasRead: true });
    change(3);
  });
  assert.deepEqual(await engine.writeIssuance(look), { value: 3, wasRead: true });
});

test('JWT-SVIDs and the highest expiry of their authorities leave the rows of rights as they are', async () => {
  const { engine, look } = world();
  const looks: ReturnType<typeof look>[] = [];
  const issuance = createIssuance(engine, {
    clock: systemClock,
    audit: () => {},
    checkRights: (batch) => {
      looks.push(look());
      return batch.map(() => undefined);
    },
    countStates: () => {},
    jwt: { insert: () => {}, highestExpiry: () => 1, raiseExpiry: () => {} },
  });
  await issuance.recordJwtSvids([]);
  await issuance.raiseJwtExpiry('jwt', 2);
  await issuance.recordJwtSvids([]);
  assert.deepEqual(looks, [
    { value: 1, wasRead: true },
    { value: 1, wasRead: false },
  ]);
});

test('a row that was read in a commit that failed is not kept', async () => {
  const { engine, look, change } = world();
  let fails = true;
  engine.beforeCommit(() => {
    if (fails) throw new Error('no commit');
  });
  const both = [engine.write(() => change(2)), engine.writeIssuance(look)];
  for (const { status } of await Promise.allSettled(both)) assert.equal(status, 'rejected');
  fails = false;
  assert.deepEqual(await engine.writeIssuance(look), { value: 1, wasRead: true });
});
