import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  canonicalBytes,
  loggedObject,
  type AuditEvent,
  type ClockState,
} from '../../../src/domain/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { logWorld, openLog, type OpenedLog } from '../../support/log-world.ts';
import { until } from '../../support/until.ts';

const doubted: ClockState = {
  bootId: 'boot-1',
  uptimeMs: 5_000,
  wallMs: 1_800_000_000_000,
  standing: 'jumped',
  seconds: 864_000,
};
const believed: ClockState = { ...doubted, wallMs: 2_000_000_000_000, standing: 'believed' };
const event = (kind: string): AuditEvent => ({
  timeMs: 1_800_000_000_000,
  actor: 'server',
  kind,
  subject: 'clock',
  detail: {},
});

const sequenced = async ({ store }: OpenedLog): Promise<void> => {
  const count = await store.audit.count();
  await until(async () => (await store.log.head()).size === count, 'every record is in the tree');
};

/** A record that somebody writes who has the database and no key. */
function forge(path: string, state: ClockState): void {
  const canonical = canonicalBytes(
    { ...event('clock.accepted'), detail: { ...state } },
    loggedObject('clock', state),
  );
  foreignSql(path, (database) =>
    database
      .prepare(
        `INSERT INTO audit (sequence, time_ms, time_high_ms, actor, kind, subject, canonical, sha256)
         SELECT max(sequence) + 1, max(time_ms), max(time_high_ms), 'uid:0', 'clock.accepted', 'clock', ?, ?
         FROM audit`,
      )
      .run(canonical, createHash('sha256').update(canonical).digest()),
  );
}

test('a doubt of the clock stands by the log over restarts, and no row of others ends it', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-clock-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const world = logWorld(join(directory, 'meshca.db'), {
    snapshots: { everyRecords: 2, atCloseRecords: 1 },
  });
  {
    await using opened = await openLog(world);
    assert.equal(opened.store.rotations.clock(), undefined);
    await opened.store.rotations.recordClock(believed, event('clock.anchored'));
    await opened.store.rotations.recordClock(doubted, event('clock.doubted'));
    assert.deepEqual(opened.store.rotations.clock(), doubted);
    await sequenced(opened);
  }
  forge(world.path, believed);
  for (const again of ['with the forged record', 'and once more']) {
    await using opened = await openLog(world);
    assert.deepEqual(opened.store.rotations.clock(), doubted, again);
  }
});
