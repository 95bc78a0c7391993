import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { event } from '../../compliance/store/fixtures.ts';
import { logWorld, openLog, type LogWorld } from '../../support/log-world.ts';

async function signedOnce(world: LogWorld): Promise<void> {
  await using opened = await openLog(world);
  await opened.store.audit.append([event('test')]);
  await opened.log.catchUp();
}

test('a checkpoint file of another log is refused, and the log opens when the right one is back', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-truncated-'));
  try {
    const world = logWorld(join(dir, 'meshca.db'));
    const other = logWorld(join(dir, 'other.db'));
    await signedOnce(world);
    await signedOnce(other);
    await copyFile(world.checkpointFile, `${world.checkpointFile}.right`);
    await copyFile(other.checkpointFile, world.checkpointFile);
    await assert.rejects(openLog(world), { code: 'TREE_TRUNCATED' });
    await copyFile(`${world.checkpointFile}.right`, world.checkpointFile);
    await signedOnce(world);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
