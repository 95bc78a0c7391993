import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, systemClock, type Clock } from '../../../src/common/runtime/index.ts';
import type { FailingCommits } from '../../../src/store/ports/index.ts';
import { Engine } from '../../../src/store/sqlite/engine.ts';
import { code } from '../../compliance/store/fixtures.ts';
import { FakeClock } from '../../support/agent.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { until } from '../../support/until.ts';

/**
 * An engine over a database that can grow to `pages` pages: SQLite then answers as it does when the
 * disk is full.
 */
function limited(
  t: TestContext,
  pages: number,
  clock: Clock = systemClock,
): {
  readonly engine: Engine;
  readonly path: string;
  readonly rows: () => number;
  readonly grow: () => void;
  readonly commits: () => number;
} {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-engine-'));
  const database = new DatabaseSync(join(folder, 'a.db'));
  database.exec(
    'PRAGMA journal_mode = WAL; CREATE TABLE a (id INTEGER PRIMARY KEY, data BLOB) STRICT',
  );
  database.exec(`PRAGMA max_page_count = ${pages}`);
  let commits = 0;
  const engine = new Engine({
    database,
    clock,
    logger: silentLogger,
    onDurable: () => (commits += 1),
  });
  t.after(async () => {
    await engine.close(() => {});
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    engine,
    path: join(folder, 'a.db'),
    rows: () => (engine.get('SELECT count(*) AS n FROM a', []) as { n: number }).n,
    grow: () => database.exec('PRAGMA max_page_count = 100000'),
    commits: () => commits,
  };
}
/** No time passes: no group is split because the machine is slow. */
const standing: Clock = { ...systemClock, monotonicMs: () => 0 };
const insert = (engine: Engine, bytes: number) => (): number =>
  engine.run('INSERT INTO a (data) VALUES (?)', [Buffer.alloc(bytes)]);

test('a full disk fails the write that needs room, whole, and later ones work', async (t) => {
  const { engine, rows, grow } = limited(t, 20);
  await engine.write(insert(engine, 100));
  await assert.rejects(
    engine.write(() => {
      insert(engine, 100)();
      insert(engine, 200_000)();
    }),
    code('STORE_FAILED'),
  );
  assert.equal(rows(), 1);
  await engine.write(insert(engine, 100));
  grow();
  await engine.write(insert(engine, 200_000));
  assert.equal(rows(), 3);
});

test('when the disk fills up under a group, those that fit are written and the others fail whole', async (t) => {
  const { engine, rows } = limited(t, 30);
  const sizes = [100, 200_000, 100, 20_000, 500_000, 100];
  const results = await Promise.allSettled(sizes.map((size) => engine.write(insert(engine, size))));
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
  );
  for (const result of results)
    if (result.status === 'rejected') code('STORE_FAILED')(result.reason);
  assert.equal(rows(), 4);
});

test('while somebody else writes to the file all that wait fail at once, and later ones work', async (t) => {
  const { engine, path, rows } = limited(t, 1000);
  const other = new DatabaseSync(path);
  other.exec('BEGIN IMMEDIATE');
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, () => engine.write(insert(engine, 10))),
  );
  for (const result of results) code('STORE_FAILED')((result as PromiseRejectedResult).reason);
  other.exec('ROLLBACK');
  other.close();
  await Promise.all([engine.write(insert(engine, 10)), engine.write(insert(engine, 10))]);
  assert.equal(rows(), 2);
});

test('a write that throws in the middle of a group takes only its own rows with it', async (t) => {
  const { engine, rows, commits } = limited(t, 1000, standing);
  const results = await Promise.allSettled(
    Array.from({ length: 30 }, (_, index) =>
      engine.write(() => {
        insert(engine, 10)();
        if (index % 3 === 0) throw new RangeError('a defect');
        insert(engine, 10)();
        return index;
      }),
    ),
  );
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value : undefined)),
    results.map((_, index) => (index % 3 === 0 ? undefined : index)),
  );
  assert.equal(rows(), 40);
  assert.ok(commits() < 10);
});

test('a long queue is split, so that one commit does not block the thread for long, and keeps its order', async (t) => {
  const { engine, commits } = limited(t, 100_000);
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      engine.write(() => {
        const until = performance.now() + 3;
        while (performance.now() < until);
        insert(engine, 10)();
        order.push(index);
      }),
    ),
  );
  assert.deepEqual(
    order,
    Array.from({ length: 30 }, (_, index) => index),
  );
  assert.ok(commits() >= 5, `${commits()} commits`);
});

test('what would write outside of a transaction is refused, and a statement that is wrong names its table', async (t) => {
  const { engine } = limited(t, 100);
  assert.throws(insert(engine, 1), code('INTERNAL'));
  await assert.rejects(
    engine.write(() => engine.run('INSERT INTO "nothing" (x) VALUES (1)', [])),
    code('STORE_FAILED'),
  );
  await assert.rejects(
    engine.read(() => {
      throw new Error('a defect');
    }),
    code('INTERNAL'),
  );
});

/** An engine whose commits become durable when the test says so. */
function controlled(t: TestContext): {
  readonly engine: Engine;
  readonly syncs: PromiseWithResolvers<void>[];
} {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-engine-'));
  const database = new DatabaseSync(join(folder, 'a.db'));
  database.exec(
    'PRAGMA journal_mode = WAL; CREATE TABLE a (id INTEGER PRIMARY KEY, data BLOB) STRICT',
  );
  const syncs: PromiseWithResolvers<void>[] = [];
  let ended = false;
  const engine = new Engine({
    database,
    clock: systemClock,
    logger: silentLogger,
    makeDurable: () => {
      if (ended) return Promise.resolve();
      const sync = Promise.withResolvers<void>();
      syncs.push(sync);
      return sync.promise;
    },
  });
  t.after(async () => {
    ended = true;
    await engine.close(() => {});
    rmSync(folder, { recursive: true, force: true });
  });
  return { engine, syncs };
}
const turns = async (count = 5): Promise<void> => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};
const count = (engine: Engine) => (): number =>
  (engine.get('SELECT count(*) AS n FROM a', []) as { n: number }).n;

test('callers and readers see a commit only when durable, and writes that arrive meanwhile are one group', async (t) => {
  const { engine, syncs } = controlled(t);
  const heard: string[] = [];
  engine.afterCommit(() => heard.push('memory'));
  engine.afterDurable(() => heard.push('others'));
  void engine.write(insert(engine, 10)).then(() => heard.push('writer'));
  await turns();
  void engine.read(count(engine)).then((n) => heard.push(`reader of ${n}`));
  assert.equal(await engine.look(count(engine)), 1);
  await assert.rejects(
    engine.read(() => engine.get('SELECT nothing FROM nowhere', [])),
    code('STORE_FAILED'),
  );
  const later = [engine.write(insert(engine, 10)), engine.write(insert(engine, 10))];
  await turns();
  assert.deepEqual(heard, ['memory']);
  assert.equal(syncs.length, 1);
  syncs[0]?.resolve();
  await turns();
  assert.deepEqual(heard, ['memory', 'others', 'writer', 'reader of 1', 'memory']);
  assert.equal(syncs.length, 2);
  syncs[1]?.resolve();
  await Promise.all(later);
  assert.equal(await engine.read(count(engine)), 3);
});

test("after a commit that can't be made durable nothing is read or written any more", async (t) => {
  const { engine, syncs } = controlled(t);
  const first = engine.write(insert(engine, 10));
  await turns();
  const reader = engine.read(count(engine));
  const waiting = engine.write(insert(engine, 10));
  syncs[0]?.reject(new Error('EIO'));
  for (const result of await Promise.allSettled([first, reader, waiting]))
    code('STORE_FAILED')((result as PromiseRejectedResult).reason);
  for (const each of [
    () => engine.write(insert(engine, 10)),
    () => engine.read(count(engine)),
    () => engine.look(count(engine)),
  ])
    await assert.rejects(each, code('STORE_FAILED'));
  assert.equal(syncs.length, 1);
  await engine.close(() => assert.fail('nothing is written any more'));
});

test('commits that fail are known with their time, a refusal is none, and a probe finds their end', async (t) => {
  const clock = new FakeClock();
  const folder = mkdtempSync(join(tmpdir(), 'meshca-engine-'));
  const database = new DatabaseSync(join(folder, 'a.db'));
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE a (id INTEGER PRIMARY KEY) STRICT');
  const engine = new Engine({ database, clock, logger: silentLogger });
  t.after(async () => {
    await engine.close(() => {});
    rmSync(folder, { recursive: true, force: true });
  });
  const write = (): Promise<number> =>
    engine.write(() => engine.run('INSERT INTO a DEFAULT VALUES', []));
  await write();
  await assert.rejects(
    engine.write(() => engine.run('INSERT INTO a (id) VALUES (1)', [])),
    code('ALREADY_EXISTS'),
  );
  const failing = (): FailingCommits | undefined => engine.failing;
  assert.equal(failing(), undefined);

  database.exec('PRAGMA query_only = ON');
  await assert.rejects(write(), code('STORE_FAILED'));
  await assert.rejects(Promise.all([write(), write()]), code('STORE_FAILED'));
  clock.advance(12_000);
  await until(() => failing()?.seconds === 12, 'a probe that failed');
  assert.match(failing()?.error.message ?? '', /readonly/);

  database.exec('PRAGMA query_only = OFF');
  await until(() => {
    clock.advance(1_000);
    return failing() === undefined;
  }, 'a probe that succeeded');
  assert.equal((engine.get('PRAGMA user_version', []) as { user_version: number }).user_version, 0);
});

test('a write whose caller goes away before its transaction begins does not begin, and disturbs none', async (t) => {
  const { engine, rows } = limited(t, 1_000, standing);
  const gone = new AbortController();
  const writes = [
    engine.write(insert(engine, 1)),
    engine.write(insert(engine, 1), gone.signal),
    engine.write(insert(engine, 1)),
  ];
  gone.abort(new PkiError('CANCELLED', 'the client has gone'));
  const results = await Promise.allSettled(writes);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  await assert.rejects(writes[1] as Promise<unknown>, code('CANCELLED'));
  assert.equal(rows(), 2);
  await assert.rejects(engine.write(insert(engine, 1), gone.signal), code('CANCELLED'));
  assert.equal(rows(), 2);
});

test('a write that has begun is finished, though its caller goes away meanwhile', async (t) => {
  const { engine, rows } = limited(t, 1_000, standing);
  const gone = new AbortController();
  const write = engine.write(() => {
    gone.abort(new PkiError('CANCELLED', 'the client has gone'));
    return insert(engine, 1)();
  }, gone.signal);
  assert.equal(await write, 1);
  assert.equal(rows(), 1);
});

test('a read ends with its caller, also while what it saw is being made durable', async (t) => {
  const { engine, syncs } = controlled(t);
  const gone = new AbortController();
  const writing = engine.write(insert(engine, 1));
  await turns();
  const [left, stayed] = [engine.read(count(engine), gone.signal), engine.read(count(engine))];
  gone.abort(new PkiError('CANCELLED', 'the client has gone'));
  await assert.rejects(left, code('CANCELLED'));
  syncs[0]?.resolve();
  assert.equal(await stayed, 1);
  await writing;
  await assert.rejects(engine.read(count(engine), gone.signal), code('CANCELLED'));
});

test('readers share a result until a write but issuance, or a foreign commit; writes read anew', async (t) => {
  const { engine, path } = limited(t, 1_000, standing);
  let reads = 0;
  const shared = (): number =>
    engine.once('rows', () => {
      reads += 1;
      return count(engine)();
    });
  assert.deepEqual(await Promise.all([engine.read(shared), engine.look(shared)]), [0, 0]);
  assert.equal(reads, 1);
  const [inside] = await Promise.all([
    engine.write(() => {
      insert(engine, 1)();
      return shared();
    }),
    engine.look(shared),
  ]);
  assert.equal(inside, 1, 'a write sees its own rows');
  assert.equal(await engine.read(shared), 1);
  reads = 0;
  await engine.writeIssuance(() => {});
  await turns();
  assert.equal(await engine.read(shared), 1);
  assert.equal(reads, 0, 'issuance changes nothing of it');
  foreignSql(path, (database) => database.exec('INSERT INTO a DEFAULT VALUES'));
  await turns();
  assert.equal(await engine.read(shared), 2);
  await assert.rejects(
    engine.read(() =>
      engine.once('broken', () => {
        throw new PkiError('STORE_CORRUPT', 'a row');
      }),
    ),
    code('STORE_CORRUPT'),
  );
  assert.equal(await engine.read(() => engine.once('broken', () => 1)), 1, 'no failure is kept');
  assert.equal(await engine.read(() => engine.once('none', () => undefined)), undefined);
  await turns();
  assert.equal(await engine.read(() => engine.once('none', () => 1)), 1, 'no absence is kept');
});

test('a commit that the thread syncs itself is told then; a sync that throws ends the engine', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-engine-'));
  const database = new DatabaseSync(join(folder, 'a.db'));
  database.exec('CREATE TABLE a (data BLOB)');
  let fails = false;
  let synced = 0;
  const engine = new Engine({
    database,
    clock: systemClock,
    logger: silentLogger,
    makeDurable: () => {
      if (fails) throw new Error('the disk is gone');
      synced += 1;
      return undefined;
    },
  });
  t.after(() => {
    database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const syncedWhenTold = await engine.write(insert(engine, 1)).then(() => synced);
  assert.equal(syncedWhenTold, 1);
  assert.equal(engine.pending, undefined);
  assert.equal(await engine.read(count(engine)), 1);
  fails = true;
  await assert.rejects(engine.write(insert(engine, 2)), { code: 'STORE_FAILED' });
  assert.equal(engine.failure?.code, 'STORE_FAILED');
  await assert.rejects(engine.read(count(engine)), { code: 'STORE_FAILED' });
  await assert.rejects(engine.write(insert(engine, 3)), { code: 'STORE_FAILED' });
});
