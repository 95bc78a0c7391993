import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import { CompactRange, TileCollector } from '../../../src/common/tlog/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import { openStore } from '../../support/open-store.ts';
import { event } from '../../compliance/store/fixtures.ts';

interface Opened {
  readonly path: string;
  store: Ledger;
  /** Whoever can write to the file. */
  sql(text: string): void;
  reopen(): Promise<Ledger>;
}

async function withStore(work: (opened: Opened) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-log-'));
  const path = join(folder, 'meshca.db');
  const open = () =>
    openStore({ path, clock: systemClock, logger: silentLogger, pid: process.pid });
  const opened: Opened = {
    path,
    store: await open(),
    sql: (text) => {
      const database = new DatabaseSync(path, { timeout: 5_000 });
      const triggers = database
        .prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`)
        .all() as { name: string; sql: string }[];
      for (const { name } of triggers) database.exec(`DROP TRIGGER ${name}`);
      database.exec(text);
      for (const trigger of triggers) database.exec(trigger.sql);
      database.close();
    },
    reopen: async () => {
      await opened.store.close();
      return (opened.store = await open());
    },
  };
  try {
    await work(opened);
  } finally {
    await opened.store.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** All that is pending and good gets into the tree. */
async function sequence(store: Ledger): Promise<void> {
  const pending = await store.log.pending(10_000);
  const lease = await store.leases.acquire('audit-log', 'test', systemClock.nowMs(), 60_000);
  assert.ok(lease !== undefined);
  const range = new CompactRange();
  const tiles = new TileCollector(() => undefined);
  for (const record of pending) range.append(record.leafHash, tiles.add);
  await store.log.extend(
    {
      fromSize: 0,
      taken: pending.map(({ sequence: at }) => at),
      excluded: [],
      sequence: pending.at(-1)?.sequence ?? 0,
      tiles: tiles.changed().map(({ address, hashes }) => ({ ...address, hashes })),
      checkpoint: {
        size: range.size,
        root: range.root(),
        note: 'note',
        timeMs: systemClock.nowMs(),
      },
    },
    lease,
  );
}

test('the first record that is not the one in the tree is named, whichever way it was touched', async () => {
  await withStore(async (opened) => {
    const { store } = opened;
    await store.audit.append(Array.from({ length: 600 }, (_, at) => event('a.b', `subject ${at}`)));
    await sequence(store);
    assert.equal(await store.log.firstWrong(), undefined);
    const wrongAfter = async (change: string, back: string): Promise<unknown> => {
      opened.sql(change);
      const found = await (await opened.reopen()).log.firstWrong();
      opened.sql(back);
      assert.equal(await (await opened.reopen()).log.firstWrong(), undefined, `undone: ${back}`);
      return found;
    };
    opened.sql('CREATE TABLE kept AS SELECT * FROM audit');
    const restore = 'DELETE FROM audit; INSERT INTO audit SELECT * FROM kept';
    assert.deepEqual(
      await wrongAfter(
        "UPDATE audit SET canonical = CAST(replace(CAST(canonical AS TEXT), 'a.b', 'a.c') " +
          'AS BLOB) WHERE sequence IN (301, 500)',
        restore,
      ),
      { index: 300, sequence: 301 },
    );
    assert.deepEqual(await wrongAfter('DELETE FROM audit WHERE sequence = 257', restore), {
      index: 256,
      sequence: 257,
    });
    assert.deepEqual(await wrongAfter('DELETE FROM audit WHERE sequence > 599', restore), {
      index: 599,
      sequence: 600,
    });
    assert.deepEqual(
      await wrongAfter(
        'UPDATE audit SET sequence = -1 WHERE sequence = 9; UPDATE audit SET sequence = 9 ' +
          'WHERE sequence = 10; UPDATE audit SET sequence = 10 WHERE sequence = -1',
        restore,
      ),
      { index: 8, sequence: 9 },
    );
    opened.sql('UPDATE log_tiles SET hashes = zeroblob(8192) WHERE level = 0 AND position = 1');
    assert.deepEqual(
      await (await opened.reopen()).log.firstWrong(),
      { index: 256, sequence: 257 },
      'a tile that was changed',
    );
  });
});

test('a pending record is recognised as ours, gone, changed, foreign, or sealed before a restart', async () => {
  await withStore(async (opened) => {
    const { store } = opened;
    await store.audit.append([event('a.b', 'before any session')]);
    const kinds = async (of: Ledger): Promise<readonly string[]> =>
      (await of.log.pending(100)).map(({ sequence: at, origin }) => `${at} ${origin.kind}`);
    await sequence(store);
    await store.log.beginSession(
      {
        id: 's',
        spkiDer: Buffer.from('key'),
        signature: Buffer.from('signature'),
        signer: 'log',
        startedAtMs: 1,
      },
      () => Buffer.from('seal'),
    );
    await store.audit.append([event('a.b', '2'), event('a.b', '3'), event('a.b', '4')]);
    opened.sql(
      "DELETE FROM audit WHERE sequence = 3; UPDATE audit SET canonical = x'00' WHERE " +
        'sequence = 4; INSERT INTO audit SELECT 5, time_ms, time_high_ms, actor, kind, ' +
        'subject, canonical, sha256 FROM audit WHERE sequence = 2',
    );
    assert.deepEqual(await kinds(store), ['2 own', '3 gone', '4 foreign', '5 foreign']);
    assert.equal(store.log.pendingHash(5), undefined);
    assert.deepEqual(
      await kinds(await opened.reopen()),
      ['2 sealed', '4 sealed', '5 foreign'],
      'whether the seal holds is for whoever checks it',
    );
  });
});
