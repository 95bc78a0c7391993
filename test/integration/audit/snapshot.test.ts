import assert from 'node:assert/strict';
import { createHash, sign } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { logOrigin } from '../../../src/audit/index.ts';
import { snapshotStatement } from '../../../src/audit/snapshot.ts';
import { canonicalBytes, leafHash, logObjectDigest } from '../../../src/domain/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import { replaceDatabase } from '../../../src/store/index.ts';
import {
  activeAuthority,
  by,
  creates,
  delegation,
  deletes,
  draft,
  event,
  issued,
  start,
} from '../../compliance/store/fixtures.ts';
import { foreignSql, insertRow, readRow } from '../../support/foreign-sql.ts';
import { logWorld, openLog, type LogWorld, type OpenedLog } from '../../support/log-world.ts';
import { until } from '../../support/until.ts';

interface Said {
  readonly why: string[];
  readonly alerts: string[];
}

/** Snapshots are made at each clean stop, and after every fifty records. */
async function inWorld(
  work: (world: LogWorld, said: Said) => Promise<void>,
  trustDomain = 'mesh.test',
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-snapshot-'));
  const said: Said = { why: [], alerts: [] };
  const logger: Logger = {
    ...silentLogger,
    warn: (fields: object) => void ('why' in fields && said.why.push(String(fields.why))),
    error: (fields: object) =>
      void (
        'alert' in fields &&
        said.alerts.push(
          `${String('code' in fields && fields.code)} ${String('sequence' in fields ? fields.sequence : '')}`.trim(),
        )
      ),
    child: () => logger,
  };
  try {
    await work(
      logWorld(join(folder, 'meshca.db'), {
        trustDomain,
        logger,
        snapshots: { everyRecords: 50, atCloseRecords: 1 },
      }),
      said,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const sql = <T>({ path }: LogWorld, work: (database: DatabaseSync) => T): T =>
  foreignSql(path, work);
const exec = (world: LogWorld, text: string): void => sql(world, (database) => database.exec(text));

async function inStore(world: LogWorld, work: (opened: OpenedLog) => Promise<void>): Promise<void> {
  await using opened = await openLog(world);
  await work(opened);
}

const failure = (world: LogWorld): Promise<PkiError> =>
  openLog(world).then(
    async (opened) => {
      await opened[Symbol.asyncDispose]();
      return assert.fail('it started');
    },
    (thrown: unknown) => PkiError.from(thrown),
  );

/** What the memory of the log says, as one digest. */
async function memory({ store }: OpenedLog): Promise<string> {
  const copy = store.log.copyLedger();
  assert.ok(copy !== undefined);
  const hash = createHash('sha256');
  for (const part of copy.parts()) hash.update(part);
  return hash.digest('hex');
}

const provenEntry = async (store: Ledger, id: string): Promise<boolean | 'absent'> => {
  const entry = (await store.entries.byIds([id]))[0];
  return entry === undefined ? 'absent' : store.objects.prove('entry', entry) !== undefined;
};
const records = (count: number) =>
  Array.from({ length: count }, (_, at) => event('a.b', `subject ${at}`));
const basisOf = async ({ store }: OpenedLog): Promise<number | undefined> =>
  store.log.basis()?.size;

/**
 * Objects of many kinds, some deleted, some revoked; returns the ID of an entry, and of one that
 * was deleted later, both in the first snapshot.
 */
async function lived(world: LogWorld): Promise<{
  readonly kept: string;
  readonly deleted: string;
  readonly serial: string;
  readonly authorityId: string;
}> {
  const [kept, deleted] = [
    draft({ spiffeId: 'spiffe://example.org/kept' }),
    draft({ spiffeId: 'spiffe://example.org/deleted' }),
  ];
  let serial = '';
  let authorityId = '';
  await inStore(world, async ({ store }) => {
    await store.entries.write([creates(kept), creates(deleted)], by);
    await store.delegations.create(delegation(), event('delegation.created'));
    authorityId = (await activeAuthority(store)).id;
    ({ serial } = await issued(store, authorityId));
    await store.revocations.revoke(
      { serial, reason: 'keyCompromise', revokedAt: start, revokedBy: 'uid:0' },
      event('certificate.revoked'),
    );
    await store.revocations.saveCrl(
      {
        authorityId,
        shard: 0,
        number: 7,
        thisUpdate: start,
        nextUpdate: start + 60,
        der: Buffer.from('crl'),
      },
      { ...event('crl.imported'), detail: { crlNumber: String(2n ** 80n) } },
    );
    await store.audit.append([
      event('certificate.issued', 'spiffe://example.org/leaf', {
        holder: 'spiffe://example.org/caller',
        authority: authorityId,
        notAfter: start + 3_600,
        serial: '5a01',
        certificateKind: 'delegated',
      }),
      ...records(20),
    ]);
  });
  return { kept: kept.id, deleted: deleted.id, serial, authorityId };
}

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

/** The row of an entry as an attacker wants it, and the digest that the log would need to have. */
function takeOver(database: DatabaseSync, id: string): string {
  database
    .prepare(`UPDATE entries SET spiffe_id = 'spiffe://example.org/admin', admin = 1 WHERE id = ?`)
    .run(id);
  const row = database.prepare('SELECT * FROM entries WHERE id = ?').get(id) as Record<
    string,
    unknown
  >;
  return logObjectDigest(
    JSON.stringify([
      row['id'],
      row['spiffe_id'],
      row['is_template'],
      row['placeholders'],
      row['parent_id'],
      row['selectors'],
      row['x509_ttl_seconds'],
      row['jwt_ttl_seconds'],
      row['profile'],
      row['dns_names'],
      row['hint'],
      row['expires_at'],
      row['admin'],
      row['downstream'],
      row['allow_weak_selectors'],
      row['revision'],
      row['created_at'],
      row['updated_at'],
      row['created_by'],
    ]),
  );
}

/**
 * Writes another digest of an entry into the parts of the newest snapshot; returns the digest over
 * them.
 */
function forgeParts(database: DatabaseSync, id: string, sha256: string): Buffer {
  const parts = database
    .prepare(
      'SELECT size, position, content FROM log_snapshot_parts WHERE size = (SELECT ' +
        'max(size) FROM log_snapshots) ORDER BY position',
    )
    .all() as { size: number; position: number; content: Uint8Array }[];
  const digest = createHash('sha256');
  for (const { size, position, content } of parts) {
    const items = JSON.parse(Buffer.from(content).toString()) as unknown[][];
    for (const item of items) if (item[1] === `entry ${id}`) item[2] = sha256;
    const changed = Buffer.from(JSON.stringify(items));
    database
      .prepare('UPDATE log_snapshot_parts SET content = ? WHERE size = ? AND position = ?')
      .run(changed, size, position);
    digest.update(createHash('sha256').update(changed).digest());
  }
  return digest.digest();
}

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
        INSERT INTO log_snapshots SELECT * FROM other.log_snapshots; INSERT INTO log_snapshot_parts SELECT * FROM other.log_snapshot_parts;`),
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
