import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import { namedProcess } from '../../../../../sidecar/files/drivers/pid-file.ts';
import { reloadWorkers } from '../../../../../sidecar/files/drivers/workers.ts';
import { neverAborted, TargetDirectory } from '../../../../support/servers/index.ts';

test('a master that ends at the reload is not waited for, nor one that had ended before', async () => {
  using target = new TargetDirectory();
  const pidFile = join(target.path, 'pid');
  const executable = realpathSync('/bin/sleep');
  const child = spawn(executable, ['1000'], { stdio: 'ignore' });
  try {
    writeFileSync(pidFile, String(child.pid));
    using master = namedProcess({ path: pidFile, executable }, systemClock);
    assert.ok(master);
    const reload = { signalName: 'SIGHUP', isLeaving: () => true } as const;
    // SIGHUP ends it, and it never has a new worker
    assert.equal(await reloadWorkers(master, reload, systemClock, neverAborted), 'ended');
    assert.equal(await reloadWorkers(master, reload, systemClock, neverAborted), 'ended');
  } finally {
    child.kill('SIGKILL');
  }
});
