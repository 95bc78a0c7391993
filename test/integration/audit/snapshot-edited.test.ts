import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { logOrigin } from '../../../src/audit/index.ts';
import { snapshotStatement } from '../../../src/audit/snapshot.ts';
import { canonicalBytes, leafHash } from '../../../src/domain/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import { by, creates, draft, event } from '../../compliance/store/fixtures.ts';
import { openLog, type LogWorld } from '../../support/log-world.ts';
import { until } from '../../support/until.ts';
import {
  inWorld,
  sql,
  exec,
  inStore,
  failure,
  provenEntry,
  records,
  basisOf,
  lived,
  takeOver,
  forgeParts,
} from './snapshot-support.ts';

test('an edited snapshot is not used, and the start reads the whole log', async () => {
  await inWorld(async (world, said) => {
    const { kept } = await lived(world);
    const kinds: [string, RegExp, (database: DatabaseSync) => void][] = [
      [
        'parts',
        /its parts do not have the digest/,
        (database) => void forgeParts(database, kept, takeOver(database, kept)),
      ],
      [
        'parts and digest',
        /not signed by the log key/,
        (database) =>
          void database
            .prepare('UPDATE log_snapshots SET digest = ?')
            .run(forgeParts(database, kept, takeOver(database, kept))),
      ],
      [
        'a part taken away',
        /its parts do not have the digest/,
        (database) => database.exec('DELETE FROM log_snapshot_parts WHERE position = 0'),
      ],
      [
        'another sequence',
        /not signed by the log key/,
        (database) => database.exec('UPDATE log_snapshots SET sequence = sequence - 5'),
      ],
      [
        'a root',
        /another root/,
        (database) => database.exec('UPDATE log_snapshots SET root = zeroblob(32)'),
      ],
      [
        'a later time',
        /not signed by the log key/,
        (database) => database.exec('UPDATE log_snapshots SET time_ms = time_ms + 1'),
      ],
      [
        'a size beyond the tree',
        /the tree has/,
        (database) =>
          database.exec(
            'UPDATE log_snapshot_parts SET size = size + 1000; UPDATE log_snapshots SET size = size + 1000',
          ),
      ],
      [
        'a tile at the edge',
        /another root|lacks/,
        (database) =>
          database.exec('UPDATE log_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0'),
      ],
    ];
    copyFileSync(world.path, `${world.path}.good`);
    for (const [what, why, attack] of kinds) {
      copyFileSync(`${world.path}.good`, world.path);
      sql(world, attack);
      said.why.length = 0;
      const opened = await openLog({
        ...world,
        checkpointFile: `${world.checkpointFile}.none`,
      }).catch((thrown: unknown) => PkiError.from(thrown));
      if (opened instanceof PkiError) {
        assert.equal(opened.code, 'AUDIT_INVALID', what);
      } else {
        assert.equal(await provenEntry(opened.store, kept), !what.startsWith('parts'), what);
        await opened[Symbol.asyncDispose]();
      }
      assert.ok(
        said.why.some((each) => why.test(each)),
        `${what}: ${said.why.join('; ')}`,
      );
    }
  });
});

test('a changed record under the snapshot grants nothing, and the review finds it and stops signing', async () => {
  await inWorld(async (world, said) => {
    const { kept } = await lived(world);
    const sequence = sql(
      world,
      (database) =>
        (
          database
            .prepare(`SELECT sequence FROM audit WHERE kind = 'entry.created' ORDER BY sequence`)
            .get() as { sequence: number }
        ).sequence,
    );
    copyFileSync(world.path, `${world.path}.good`);
    const attack = (database: DatabaseSync): Buffer => {
      const canonical = canonicalBytes(event('entry.created', kept), {
        kind: 'entry',
        id: kept,
        sha256: takeOver(database, kept),
      });
      database
        .prepare('UPDATE audit SET canonical = ?, sha256 = ? WHERE sequence = ?')
        .run(canonical, leafHash(canonical), sequence);
      return leafHash(canonical);
    };
    const noticed = async (expected: string): Promise<void> => {
      said.alerts.length = 0;
      await inStore(world, async (opened) => {
        assert.ok((await basisOf(opened)) !== undefined);
        assert.equal(await provenEntry(opened.store, kept), false);
        await until(() => opened.log.damage !== undefined);
        assert.equal(opened.log.damage?.code, 'AUDIT_INVALID');
        assert.equal(await provenEntry(opened.store, kept), false);
        await until(() => opened.log.basis.snapshot === undefined);
      });
      assert.deepEqual(said.alerts, [expected]);
      assert.equal(
        (await failure(world)).code,
        'AUDIT_INVALID',
        'the next start reads all records',
      );
    };
    sql(world, attack);
    await noticed(`AUDIT_INVALID ${sequence}`);

    // together with its hash in the tree, where the edge does not show it
    copyFileSync(`${world.path}.good`, world.path);
    const tileOf = (database: DatabaseSync): Buffer =>
      Buffer.from(
        (
          database
            .prepare('SELECT hashes FROM log_tiles WHERE level = 0 AND position = 0')
            .get() as { hashes: Uint8Array }
        ).hashes,
      );
    await inStore(world, ({ store }) => store.audit.append(records(600)));
    sql(world, (database) => {
      const hash = attack(database);
      const hashes = tileOf(database);
      hash.copy(hashes, (sequence - 1) * 32);
      database
        .prepare('UPDATE log_tiles SET hashes = ? WHERE level = 0 AND position = 0')
        .run(hashes);
    });
    await noticed('AUDIT_INVALID');

    copyFileSync(`${world.path}.good`, world.path);
    exec(world, `DELETE FROM audit WHERE sequence = ${sequence}`);
    said.alerts.length = 0;
    await inStore({ ...world, checkpointFile: `${world.checkpointFile}.none` }, async ({ log }) =>
      until(() => log.damage !== undefined),
    );
    assert.deepEqual(said.alerts, [`AUDIT_INVALID ${sequence}`]);
  });
});

test('the review notices a signed snapshot that contradicts the records, and the next start ignores it', async () => {
  await inWorld(async (world, said) => {
    const { kept } = await lived(world);
    const tamper = (database: DatabaseSync): void => {
      const digest = forgeParts(database, kept, takeOver(database, kept));
      const row = database.prepare('SELECT * FROM log_snapshots ORDER BY size DESC').get() as {
        size: number;
        root: Uint8Array;
        sequence: number;
        parts: number;
        time_ms: number;
      };
      const statement = snapshotStatement(
        {
          size: row.size,
          root: Buffer.from(row.root),
          sequence: row.sequence,
          parts: row.parts,
          digest,
          timeMs: row.time_ms,
        },
        logOrigin(world.trustDomain),
      );
      database
        .prepare('UPDATE log_snapshots SET digest = ?, signature = ? WHERE size = ?')
        .run(digest, sign('sha256', Buffer.from(statement), world.privateKey), row.size);
    };
    sql(world, tamper);
    await inStore(world, async ({ log }) =>
      until(() => log.damage !== undefined && log.basis.snapshot === undefined),
    );
    assert.deepEqual(said.alerts, ['AUDIT_INVALID']);
    await inStore(world, async (opened) => {
      assert.equal(await basisOf(opened), undefined);
      assert.equal(await provenEntry(opened.store, kept), false);
    });
  });
});

test('a snapshot of another database, or of another trust domain under the same key, is not used', async () => {
  await inWorld(async (world, said) => {
    await inWorld(async (other) => {
      await lived(world);
      const foreign = { ...other, authority: world.authority, privateKey: world.privateKey };
      const copy = (from: LogWorld): void =>
        sql(world, (database) =>
          database.exec(`
        ATTACH '${from.path}' AS other; DELETE FROM log_snapshots; DELETE FROM log_snapshot_parts;
        INSERT INTO log_snapshots SELECT * FROM other.log_snapshots;
        INSERT INTO log_snapshot_parts SELECT * FROM other.log_snapshot_parts;`),
        );
      await lived(foreign);
      copy(foreign);
      await inStore(world, async (opened) => assert.equal(await basisOf(opened), undefined));
      assert.ok(said.why.some((why) => why.includes('another root')));
    });
    await inWorld(async (other) => {
      // the same tree and the same key, in the name of another log
      const alien = { ...other, authority: world.authority, privateKey: world.privateKey };
      sql(world, (database) => {
        const row = database.prepare('SELECT * FROM log_snapshots ORDER BY size DESC').get() as {
          size: number;
          root: Uint8Array;
          sequence: number;
          parts: number;
          digest: Uint8Array;
          time_ms: number;
        };
        const statement = snapshotStatement(
          {
            size: row.size,
            root: Buffer.from(row.root),
            sequence: row.sequence,
            parts: row.parts,
            digest: Buffer.from(row.digest),
            timeMs: row.time_ms,
          },
          logOrigin(alien.trustDomain),
        );
        database
          .prepare('UPDATE log_snapshots SET signature = ? WHERE size = ?')
          .run(sign('sha256', Buffer.from(statement), alien.privateKey), row.size);
        database.exec(
          'DELETE FROM log_snapshots WHERE size < (SELECT max(size) FROM log_snapshots)',
        );
      });
      await inStore(world, async (opened) => assert.equal(await basisOf(opened), undefined));
      assert.ok(said.why.some((why) => why.includes('not signed')));
    }, 'other.test');
  });
});

test('a row of the table of runs gives a forged record no place in the log', async () => {
  await inWorld(async (world) => {
    const { kept } = await lived(world);
    for (const from of ['a snapshot', 'the whole log']) {
      if (from !== 'a snapshot') exec(world, 'DELETE FROM log_snapshots');
      sql(world, (database) => {
        const { next } = database.prepare('SELECT max(sequence) + 1 AS next FROM audit').get() as {
          next: number;
        };
        const canonical = canonicalBytes(event('entry.created', kept), {
          kind: 'entry',
          id: kept,
          sha256: takeOver(database, kept),
        });
        database
          .prepare(
            "INSERT INTO audit SELECT ?, time_ms, time_high_ms, actor, 'entry.created', ?, " +
              '?, ? FROM audit WHERE sequence = 1',
          )
          .run(next, kept, canonical, leafHash(canonical));
        database
          .prepare('INSERT INTO log_runs (first_index, first_sequence, length) VALUES (?, ?, 1)')
          .run(1_000_000 + next, next);
      });
      await inStore(world, async ({ store, log }) => {
        assert.equal(await provenEntry(store, kept), false, from);
        assert.ok(log.foreignRecords > 0);
      });
    }
  });
});

test('records that were touched before they were in the tree keep this process from making a snapshot', async () => {
  await inWorld(async (world) => {
    const { kept } = await lived(world);
    await inStore(world, async ({ store, log }) => {
      const before = log.basis.snapshot?.size;
      const made = draft({ spiffeId: 'spiffe://example.org/brief' });
      // somebody else holds the tree, so that the record waits
      exec(
        world,
        `UPDATE leases SET holder = 'other', fence = fence + 1, expires_at_ms = 9e15 WHERE name = 'audit-log'`,
      );
      await store.entries.write([creates(made)], by);
      exec(world, 'DELETE FROM audit WHERE sequence = (SELECT max(sequence) FROM audit)');
      exec(world, `UPDATE leases SET expires_at_ms = 0 WHERE name = 'audit-log'`);
      await until(
        () =>
          log.catchUp().then(
            () => log.foreignRecords > 0,
            () => false,
          ),
        'the record that is gone',
      );
      await store.audit.append(records(80));
      await until(() =>
        log.catchUp().then(
          () => true,
          () => false,
        ),
      );
      assert.equal(log.basis.snapshot?.size, before);
      assert.equal(store.log.copyLedger(), undefined);
    });
    await inStore(world, async (opened) => {
      assert.ok(((await basisOf(opened)) ?? 0) < opened.log.size);
      assert.equal(await provenEntry(opened.store, kept), true);
    });
  });
});
