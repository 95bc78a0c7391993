import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { linuxKernel } from '../../../../sidecar/attest/index.ts';
import { nextTurn } from '../../../support/until.ts';

test('signals to the agent let no process count as exited', async () => {
  const kernel = linuxKernel();
  const pidfd = kernel.pidfdOpen(process.pid);
  assert.ok(pidfd !== undefined, 'this test needs a kernel with pidfd (Linux 5.3)');
  let signals = 0;
  const heard = (): void => void (signals += 1);
  process.on('SIGWINCH', heard);
  const sender = spawn('sh', ['-c', `while kill -WINCH ${process.pid}; do :; done`], {
    stdio: 'ignore',
  });
  try {
    let wrong = 0;
    while (signals < 2_000) {
      for (let asked = 0; asked < 1_000; asked += 1) if (kernel.exited([pidfd])[0]) wrong += 1;
      await nextTurn();
    }
    assert.equal(wrong, 0);
  } finally {
    sender.kill('SIGKILL');
    closeSync(pidfd);
    process.off('SIGWINCH', heard);
  }
});
