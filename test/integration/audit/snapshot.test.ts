import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { test } from 'node:test';
import { replaceDatabase } from '../../../src/store/index.ts';
import { by, creates, deletes, draft, start } from '../../compliance/store/fixtures.ts';
import { insertRow, readRow } from '../../support/foreign-sql.ts';
import { logWorld } from '../../support/log-world.ts';
import { until } from '../../support/until.ts';
import {
  inWorld,
  sql,
  exec,
  inStore,
  failure,
  memory,
  provenEntry,
  records,
  basisOf,
  lived,
} from './snapshot-support.ts';

test('a start from a snapshot and later records knows as much as a reading of the whole log', async () => {
  await inWorld(async (world, said) => {
    const { kept, deleted, serial, authorityId } = await lived(world);
    await inStore(world, async (opened) => {
      const { store, log } = opened;
      assert.ok(((await basisOf(opened)) ?? 0) > 20);
      assert.equal(log.basis.snapshot?.size, await basisOf(opened));
      assert.deepEqual(
        [await provenEntry(store, kept), await provenEntry(store, deleted)],
        [true, true],
      );
      assert.equal((await store.revocations.bySerial(serial))?.reason, 'keyCompromise');
      assert.deepEqual(
        [
          await store.revocations.highestCrlNumber(authorityId, 0),
          await store.revocations.issuerCrlNumber(authorityId),
        ],
        [7, 2n ** 80n],
      );
      assert.equal(store.objects.expectedCount('entry'), 2);
      assert.equal(
        (await store.rotations.lastNotAfterByHolder(1)).get('spiffe://example.org/caller'),
        start + 3_600,
        'until when a leaf lives whose row was never there',
      );
      await until(() => log.basis.review.whole);
      await store.entries.write([deletes(deleted)], by);
      // no clean stop: the records behind the snapshot are read
    });
    exec(world, 'DELETE FROM log_snapshots WHERE size = (SELECT max(size) FROM log_snapshots)');
    let known = '';
    await inStore(world, async (opened) => {
      assert.ok(
        ((await basisOf(opened)) ?? 0) > 20 && ((await basisOf(opened)) ?? 0) < opened.log.size,
      );
      assert.equal(await provenEntry(opened.store, deleted), 'absent');
      known = await memory(opened);
    });
    exec(world, 'DELETE FROM log_snapshots');
    await inStore(world, async (opened) => {
      assert.equal(await basisOf(opened), undefined);
      assert.equal(await memory(opened), known);
    });
    assert.deepEqual(said, { why: [], alerts: [] });
  });
});

test('snapshots made while records come all the time are those of the tree that has what they say', async () => {
  await inWorld(async (world, said) => {
    await lived(world);
    const sizes = new Set<number>();
    await inStore(world, async ({ store, log }) => {
      let going = true;
      const writers = [0, 1, 2].map(async (writer) => {
        for (let turn = 0; going; turn += 1) {
          const made = draft({ spiffeId: `spiffe://example.org/${writer}/${turn}` });
          await store.entries.write([creates(made)], by);
          if (turn % 3 === 0) await store.entries.write([deletes(made.id)], by);
        }
      });
      try {
        await until(async () => {
          await log.catchUp();
          if (log.basis.snapshot !== undefined) sizes.add(log.basis.snapshot.size);
          return sizes.size >= 4;
        }, 'four snapshots');
      } finally {
        going = false;
        await Promise.all(writers);
      }
    });
    assert.ok(sizes.size >= 4);
    // each of the two that are kept, with the records behind it, says what all records say
    const found: string[] = [];
    for (const before of [
      '',
      'DELETE FROM log_snapshots WHERE size = (SELECT max(size) FROM log_snapshots)',
      'DELETE FROM log_snapshots',
    ]) {
      const world2 = { ...world, snapshots: { everyRecords: 1e9, atCloseRecords: 1e9 } };
      exec(world2, before);
      await inStore(world2, async (opened) => {
        found.push(await memory(opened));
        await until(() => opened.log.basis.review.whole);
        assert.equal(opened.log.damage, undefined);
      });
    }
    assert.equal(new Set(found).size, 1);
    assert.deepEqual(said, { why: [], alerts: [] });
  });
});

test('a start from an older snapshot reads the later records, and notices missing ones', async () => {
  await inWorld(async (world) => {
    const { deleted } = await lived(world);
    const row = sql(world, (database) => readRow(database, 'entries', `id = '${deleted}'`));
    await inStore(world, async ({ store }) =>
      store.entries.write([deletes(deleted)], by).then(() => {}),
    );
    sql(world, (database) => {
      database.exec('DELETE FROM log_snapshots WHERE size = (SELECT max(size) FROM log_snapshots)');
      insertRow(database, 'entries', row);
    });
    await inStore(world, async (opened) => {
      assert.ok(((await basisOf(opened)) ?? 0) < opened.log.size);
      assert.equal(await provenEntry(opened.store, deleted), false);
    });
    // the snapshot of this stop is taken away again, and the record of the deletion with it
    exec(world, 'DELETE FROM log_snapshots WHERE size > (SELECT min(size) FROM log_snapshots)');
    const last = sql(
      world,
      (database) =>
        (
          database.prepare(`SELECT sequence FROM audit WHERE kind = 'entry.deleted'`).get() as {
            sequence: number;
          }
        ).sequence,
    );
    exec(world, `DELETE FROM audit WHERE sequence >= ${last}`);
    const { code, detail } = await failure(world);
    assert.deepEqual([code, detail], ['AUDIT_INVALID', { sequence: last }]);
    // cut so that what is left fits together: the checkpoint beside the database has more
    exec(
      world,
      'UPDATE log_head SET size = (SELECT min(size) FROM log_snapshots); DELETE FROM ' +
        'log_checkpoints WHERE size > (SELECT size FROM log_head)',
    );
    const left = sql(
      world,
      (database) => (database.prepare('SELECT size FROM log_head').get() as { size: number }).size,
    );
    if (
      sql(world, (database) =>
        database.prepare('SELECT 1 FROM log_checkpoints WHERE size = ?').get(left),
      ) !== undefined
    ) {
      await inStore(world, async ({ log }) =>
        assert.ok(log.stale !== undefined, 'older than what was signed'),
      );
    }
  });
});

test('parts of a snapshot of a killed process are never used, and removed with the next snapshot', async () => {
  await inWorld(async (world, said) => {
    const { kept } = await lived(world);
    exec(
      world,
      "INSERT INTO log_snapshot_parts SELECT size + 7, position, x'00' FROM " +
        "log_snapshot_parts; INSERT INTO log_snapshot_parts SELECT 100000 + value, 0, x'00' " +
        "FROM json_each('[1,2,3,4,5,6,7,8,9]')",
    );
    await inStore(world, async ({ store }) => {
      assert.equal(await provenEntry(store, kept), true);
      await store.audit.append(records(1));
    });
    assert.deepEqual(
      sql(world, (database) =>
        database
          .prepare(
            'SELECT count(*) AS parts FROM log_snapshot_parts WHERE size NOT IN (SELECT size FROM log_snapshots)',
          )
          .get(),
      ),
      { __proto__: null, parts: 0 },
    );
    assert.deepEqual(said, { why: [], alerts: [] });
  });
});

test('a database of the schema before is read whole once and has a snapshot from then on', async () => {
  await inWorld(async (world, said) => {
    const { kept } = await lived(world);
    exec(
      world,
      'DROP TABLE log_snapshots; DROP TABLE log_snapshot_parts; DELETE FROM migrations WHERE version = 8',
    );
    await inStore(world, async (opened) => {
      assert.deepEqual(
        [await basisOf(opened), await provenEntry(opened.store, kept)],
        [undefined, true],
      );
    });
    await inStore(world, async (opened) => assert.equal(await basisOf(opened), opened.log.size));
    assert.deepEqual(said, { why: [], alerts: [] });
  });
});

test('a backup starts from the snapshot that it holds, and is as stale as it is', async () => {
  await inWorld(async (world) => {
    const { kept, deleted } = await lived(world);
    const backup = `${world.path}.backup`;
    await inStore(world, async ({ store }) => {
      await store.backup(backup);
      await store.entries.write([deletes(deleted)], by);
    });
    const newest = sql(
      world,
      (database) =>
        (
          database.prepare('SELECT max(size) AS size FROM log_checkpoints').get() as {
            size: number;
          }
        ).size,
    );
    replaceDatabase({ path: world.path, from: backup, pid: process.pid, now: 1 });
    await inStore(world, async (opened) => {
      const { log, store } = opened;
      assert.ok((await basisOf(opened)) !== undefined);
      assert.equal(log.stale?.newer.size, newest);
      assert.equal(await provenEntry(store, kept), true);
      await log.accept(newest, 'uid:0');
      await store.audit.append(records(60));
    });
    await inStore(world, async (opened) => {
      assert.equal(opened.log.stale, undefined);
      assert.equal(opened.log.origin, 'mesh.test/meshca/audit/1');
      assert.equal(await provenEntry(opened.store, kept), true);
    });
  });
});

test('after a new key took over the log, a start uses only snapshots of the new key', async () => {
  await inWorld(async (world, said) => {
    const { kept } = await lived(world);
    const standby = logWorld(world.path);
    const both = { ...world, otherKeys: new Map([[standby.authority.ckaId, standby.privateKey]]) };
    copyFileSync(world.path, `${world.path}.before`);
    let adopted = 0;
    await inStore(both, async ({ store, log }) => {
      await store.audit.append(records(5));
      await log.adopt(standby.authority);
      await until(
        () => (log.basis.snapshot?.size ?? 0) === log.size,
        'the snapshot of the new key',
      );
      adopted = log.size;
    });
    const after = { ...world, authority: standby.authority, privateKey: standby.privateKey };
    await inStore(after, async (opened) => {
      assert.equal(await basisOf(opened), adopted);
      assert.equal(await provenEntry(opened.store, kept), true);
    });
    assert.deepEqual([said.why.length, said.alerts.length], [0, 0]);
    // what the lost key has signed is of no more use
    exec(
      world,
      `ATTACH '${world.path}.before' AS before; DELETE FROM log_snapshots; DELETE FROM ` +
        'log_snapshot_parts; INSERT INTO log_snapshots SELECT * FROM before.log_snapshots; ' +
        'INSERT INTO log_snapshot_parts SELECT * FROM before.log_snapshot_parts',
    );
    await inStore(after, async (opened) => {
      assert.equal(await basisOf(opened), undefined);
      assert.equal(await provenEntry(opened.store, kept), true);
    });
    assert.ok(said.why.length > 0 && said.why.every((why) => why.includes('not signed')));
  });
});
